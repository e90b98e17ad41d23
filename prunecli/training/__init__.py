"""Training of a network, dense or pruned: settings, data in a seeded order, steps, and a state that goes on
after a crash where it was.
"""
