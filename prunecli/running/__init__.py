"""Networks as they run on samples: chunks side by side, and the weighted operations they come to."""
