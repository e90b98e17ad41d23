"""Small hand-made documents for the tests of report/ and cli/."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from prunecli.report.differences import (
    Difference,
    GroupDifference,
    LayerDifference,
    OptionDifference,
    Side,
    Sizes,
    TensorCounts,
)
from prunecli.report.epochs import Sparsity, TrainedStage
from prunecli.report.figures import DataFacts, OperationRow, Quality, RepairFacts, ScoreHistogram
from prunecli.report.gated import Gate
from prunecli.report.measured import Evaluation
from prunecli.report.model import (
    ExplainedGroup,
    Explanation,
    Goal,
    GroupRow,
    Input,
    Inspection,
    LayerRow,
    NetworkFacts,
    Output,
    PinnedRow,
    Proof,
    Report,
    SliceRow,
    Source,
    Status,
    TieRow,
    Totals,
    UseRow,
    Verification,
)
from prunecli.report.scored import CriterionFacts, RankCorrelation, ScoredGroup, Scoring
from prunecli.report.sparse import LayerSparsity
from prunecli.report.timed import Latency, LayerLatency, Spread
from prunecli.report.trained import EpochRow, Finetuning

SOURCE = Source(
    "resnet50.pth", "ab" * 32, "zip pickle, under 'state_dict', prefix 'module.' removed", ("epoch",)
)
NETWORK = NetworkFacts(
    "torchvision:resnet50", {"num_classes": 10}, ("strides",), ("identified by 320 names",)
)
LAYERS = (
    LayerRow("conv1", "Conv2d", (64, 3, 7, 7), (40, 3, 7, 7), 9408, 5880, 118_013_952, 73_758_720, 0.25),
    LayerRow("bn1", "BatchNorm2d", (64,), (40,), 128, 80, 1_605_632, 1_003_520, 0.0),
    LayerRow("avgpool", "AdaptiveAvgPool2d", (), (), 0, 0, 100_352, 50_176, 0.0),
    LayerRow("fc", "Linear", (10, 2048), (10, 1024), 20_490, 10_250, 20_480, 10_240, 0.0),
)
PRUNED = GroupRow("conv1", "channels", 64, 40, ("conv1", "bn1", "layer1.0.conv1"), "pruned")
WHOLE = GroupRow("fc", "channels", 10, 10, ("fc",), "whole", "it reaches the output of the network")
PINNED = PinnedRow("fc.weight", 0, "output of the network")
FREE = GroupRow("conv1", "channels", 64, 64, ("conv1", "bn1"), "prunable", None, "mean over the axis")


def report(groups: tuple[GroupRow, ...] = (PRUNED, WHOLE)) -> Report:
    return Report(
        version="0.1.0",
        command=("prune", "run", "resnet50.pth", "--speedup", "2"),
        checkpoint=SOURCE,
        network=NETWORK,
        inputs=(Input((1, 3, 224, 224)),),
        target=Goal("speedup", 2.0, 2.0013, 0.005, True),
        before=Totals(25_557_032, 4_133_742_592, 102_228_128),
        after=Totals(12_700_100, 2_065_000_000, 50_800_400),
        counter="fvcore",
        unsupported={"aten::cumsum": 2},
        layers=LAYERS,
        groups=groups,
        pinned=(PINNED,),
        steps=(0.31,),
        timings={"trace": 0.21, "score": 0.05, "reload": 2.5},
        proofs=(Proof("masked network", True, 1.2e-6, 1e-4), Proof("reload", True)),
        output=Output("small.safetensors", "cd" * 32, 50_900_000),
    )


REPAIR = RepairFacts(
    "lstsq",
    "lstsq",
    DataFacts("noise", 32, False),
    {"none": 1.2137, "bn": 0.6, "lstsq": 0.26149, "lstsq + bn": 0.3},
    (
        OperationRow("conv1.weight", "", "its output is that of the dense network already"),
        OperationRow("layer1.0.conv1.weight", "least squares", None, 1e-3, 0.9, 0.1),
        OperationRow("fc.weight", "channel mixing", None, 1e-2, 0.5, 0.2),
    ),
)
QUALITY = {
    "dense": Quality(360, 0.9944, 1.0, 0.067),
    "cut": Quality(360, 0.3444, 0.8, 2.08, 0.3417, 1.07, 1.84),
    "repaired": Quality(360, 0.9917, 1.0, 0.087, 0.9972, 0.158, 0.011),
}


def inspection(groups: tuple[GroupRow, ...] = (FREE, WHOLE)) -> Inspection:
    return Inspection(
        version="0.1.0",
        checkpoint=SOURCE,
        network=NETWORK,
        inputs=(Input((1, 3, 224, 224)),),
        totals=Totals(25_557_032, 4_133_742_592, 102_228_128),
        counter="fvcore",
        unsupported={},
        layers=LAYERS,
        groups=groups,
        pinned=(PINNED,),
    )


def verification(*proofs: Proof) -> Verification:
    return Verification(
        version="0.1.0",
        output=Output("small.safetensors", "cd" * 32, 50_900_000),
        network=NETWORK,
        proofs=proofs or (Proof("digests", True, detail="320 tensors"), Proof("reload", True, 1e-7, 1e-4)),
    )


EXPLAINED = ExplainedGroup(
    row=GroupRow("conv1", "channels", 64, 64, ("conv1",), "prunable", None, "a LayerNorm averages over it"),
    slices=(
        SliceRow("conv1.weight", 0, 64, "out", "units of conv1"),
        SliceRow("bn1.running_mean", 0, 64, "buffer", "units of conv1"),
    ),
    uses=(
        UseRow("aten.convolution", "conv1", "makes", 1),
        UseRow("aten.add", "layer1.0", "joins", 2),
        UseRow("aten.view", "layer1.0.attn", "passes", 1),
        UseRow("aten._unsafe_view", "layer1.0.attn", "passes", 2),
        UseRow("aten.transpose", "layer1.0.attn", "passes", 1),
    ),
    widths=20,
    ties=(*(TieRow(name, 3, 1) for name in "abcd"), TieRow("e", 1, 2)),
    tied_by="chunks of equal size in layer1",
    guards=("2 x conv1 > 4, for forward",),
    patches=("conv1.out_channels = conv1 (now 64)",),
)


def explanation() -> Explanation:
    return Explanation(
        version="0.1.0",
        checkpoint=SOURCE,
        network=NETWORK,
        inputs=(Input((1, 3, 224, 224)),),
        name="layer1.0.conv2",
        slices=(
            SliceRow("layer1.0.conv2.weight", 0, 64, "out", "units of conv1"),
            SliceRow("layer1.0.conv2.weight", 2, 3, "", "3"),
            SliceRow("fc.weight", 0, 10, "", "10", "the network's output"),
        ),
        groups=(EXPLAINED,),
    )


def evaluation() -> Evaluation:
    return Evaluation(
        version="0.1.0",
        checkpoint=SOURCE,
        network=NETWORK,
        inputs=(Input((1, 3, 224, 224)),),
        data=DataFacts("imagefolder:photos", 200, True),
        quality=Quality(200, 0.755, 0.95, 1.1, 0.91, 0.1234, 0.02),
        against=Source("dense.pth", "ef" * 32, "safetensors"),
        dense=Quality(200, 0.8, 0.96, 0.9),
        timings={"read": 0.1, "evaluate": 2.0},
        notes=("pictures as --transform imagenet makes them",),
    )


SCORED = ScoredGroup(
    "conv1", "channels", 4, None, {"taylor": (0.5, 2.0, 1.0, 0.0), "lamp": (0.1, 1.0, 0.5, 0.2)}
)
HALF_SCORED = ScoredGroup(
    "layer1.0.conv1", "channels", 2, None, {"taylor": (3.0, 4.0)}, {"lamp": "no weights to score"}
)
UNSCORED = ScoredGroup("fc", "channels", 10, "it reaches the output of the network")


def scoring() -> Scoring:
    return Scoring(
        version="0.1.0",
        checkpoint=SOURCE,
        network=NETWORK,
        inputs=(Input((1, 3, 224, 224)),),
        data=DataFacts("imagefolder:photos", 200, True),
        criteria=(
            CriterionFacts("taylor", "sum", "none", "cross-entropy"),
            CriterionFacts("lamp", "sum", "none"),
        ),
        groups=(SCORED, HALF_SCORED, UNSCORED),
        correlations=(RankCorrelation("taylor", "lamp", 0.8, 1, None, 4),),
        timings={"read": 0.1, "score": 2.0},
        notes=("pictures as --transform imagenet makes them",),
    )


def finetuning() -> Finetuning:
    rows = tuple(
        EpochRow(epoch, 1.5 / epoch, 0.5, 0.01, 2.0, 1000, Quality(360, 0.25 * epoch, 1.0, 0.5))
        for epoch in (1, 2, 3)
    )
    return Finetuning(
        version="0.1.0",
        command=("prune", "finetune", "small.safetensors", "--data", "digits"),
        checkpoint=SOURCE,
        network=NETWORK,
        inputs=(Input((1, 3, 224, 224)),),
        settings={
            "optimizer": "sgd", "lr": 0.01, "schedule": "multi-step", "weight_decay": 5e-4, "batch_size": 128,
            "milestones": (1, 2), "clip": None,
        },
        data=DataFacts("digits", 1000, True),
        validation=DataFacts("digits", 360, True),
        against=SOURCE,
        device="cpu",
        threads=2,
        epochs=rows,
        before=Quality(360, 0.1, 0.5, 2.5),
        after=rows[-1].quality,
        dense=Quality(360, 0.9944, 1.0, 0.067),
        best=3,
        changed_by=("finetune",),
        proofs=(Proof("reload", True, 1e-7, 1e-4),),
        output=Output("small.finetuned.safetensors", "cd" * 32, 50_900_000),
        timings={"train": 6.0},
        notes=("pictures as --transform imagenet makes them",),
    )  # fmt: skip


def spread(median: float) -> Spread:
    return Spread(median, median * 0.9375, median * 1.125)


LATENCY = Latency(
    device="cpu (2 threads of a test)", threads=2, batch=8, dtype="float32", runs=30,
    before=spread(81.37), after=spread(66.02), speedup=81.37 / 66.02, macs_ratio=2.0017,
    layers=(
        LayerLatency("conv1", spread(3.4012), spread(3.3906)),
        LayerLatency("avgpool", spread(0.05), None),
        LayerLatency("fc", spread(0.21), spread(0.1)),
    ),
    slow=("conv1",), advice="--round-to 8 would make widths that this device is quick at",
)  # fmt: skip
SPARSITY = (
    LayerSparsity("conv1", 5880, 1470, 12, 40, 3, 1, 2, 0.75),
    LayerSparsity("fc", 10_250, 0, 0, 10, 0, 0),
)
SCORES = (
    ScoreHistogram(
        "conv1", 0.0625, 3.25, (20, 10, 8, 6, 4, 4, 3, 3, 2, 2, 1, 1), (20, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    ),
    ScoreHistogram("fc", 1.5, 1.5, (10, *[0] * 11), (0,) * 12),
)
GATES = (
    Gate("max-macs", 2.1e9, 2_065_000_000, "MACs", True),
    Gate("max-params", 10_000_000, 12_700_100, "parameters", False),
    Gate("min-accuracy", 0.99, None, "fraction", False),
)


def trained_stage() -> TrainedStage:
    found = finetuning()
    return TrainedStage(
        "finetuned", found.settings, DataFacts("digits", 1000, True), DataFacts("digits", 360, True), True,
        "cpu", 2, found.epochs, 6.0, 3, Sparsity("greg-1", {"tau": 1.0}, {"lambda": 0.5, "converged": True},
        "--speedup 2", 12),
    )  # fmt: skip


def full_report() -> Report:
    """With all that a report can have."""
    finished = Quality(360, 0.9931, 1.0, 0.081, 0.9986, 0.12, 0.009, 10)
    return replace(
        report(), quality=QUALITY | {"finetuned": finished}, repair=REPAIR, training=(trained_stage(),),
        latency=LATENCY, sparsity=SPARSITY, scores=SCORES, gates=GATES, output=None,
        options={"criterion": "magnitude-l2", "protect": 0.1, "only": ("layer1*", "fc"), "steps": 2},
        notes=("more was removed than asked: widths are that coarse",),
    )  # fmt: skip


def full_inspection() -> Inspection:
    layers = tuple(replace(row, after=None) for row in LATENCY.layers)
    alone = replace(LATENCY, after=None, speedup=None, macs_ratio=None, slow=(), advice=None, layers=layers)
    dense = tuple(
        replace(row, shape_after=row.shape_before, params_after=row.params_before, macs_after=row.macs_before)
        for row in LAYERS
    )
    return replace(
        inspection(), layers=dense, latency=alone, sparsity=SPARSITY, unsupported={"aten::cumsum": 2},
        timings={"trace": 0.21, "zeros": 2.5}, command=("prune", "inspect", "resnet50.pth"),
    )  # fmt: skip


def full_evaluation() -> Evaluation:
    return replace(
        evaluation(), totals=report().after, gates=GATES, command=("prune", "eval", "small.safetensors")
    )


def large_report(layers: int, groups: int) -> Report:
    """As long as a very deep network makes it, with figures as long as measurements are."""
    names = [f"layer{1 + index // 250}.{index % 250}.conv{1 + index % 3}" for index in range(layers)]
    drawn = Random(0)
    rows, timed, sparse, done = [], [], [], []
    for name in names:
        width = 8 * drawn.randint(2, 32)
        kept = drawn.randint(width // 2, width)
        sizes = (width, width, 3, 3), (kept, kept, 3, 3)
        params, macs = [9 * side[0] ** 2 for side in sizes], [9 * 784 * side[0] ** 2 for side in sizes]
        rows.append(LayerRow(name, "Conv2d", *sizes, *params, *macs, drawn.random() / 9))
        times = [Spread(*sorted(drawn.uniform(0.1, 2) for _ in range(3))) for _ in range(2)]
        timed.append(LayerLatency(name, *times))
        sparse.append(LayerSparsity(name, params[1], drawn.randint(0, 99), 9, kept, 1, 0, 2, drawn.random()))
        done.append(
            OperationRow(f"{name}.weight", "least squares", None, 1e-3, drawn.random(), drawn.random())
        )
    free, histograms = [], []
    for name, row in zip(names[:groups], rows, strict=False):
        dense, kept = row.shape_before[0], row.shape_after[0]
        status: Status = "pruned" if kept < dense else "whole"
        reason = None if status == "pruned" else "none of its units was among those selected for removal"
        free.append(GroupRow(name, "channels", dense, kept, tuple(names[:12]), status, reason))
        counts = tuple(drawn.randint(0, 40) for _ in range(12))
        histograms.append(
            ScoreHistogram(name, drawn.random(), 9 * drawn.random(), counts, (*counts[:4], *[0] * 8))
        )
    pinned = tuple(PinnedRow(f"{name}.weight", 1, "the network's input") for name in names[::4])
    return replace(
        full_report(), layers=tuple(rows), groups=tuple(free), pinned=pinned, sparsity=tuple(sparse),
        scores=tuple(histograms), repair=replace(REPAIR, operations=tuple(done)),
        latency=replace(LATENCY, layers=tuple(timed)),
    )  # fmt: skip


def difference() -> Difference:
    return Difference(
        version="0.1.0",
        a=Side(
            "dense|1.pth", "checkpoint", "ab" * 32, NETWORK, (Input((1, 3, 224, 224)),),
            Sizes(25_557_032, 4_133_742_592, 102_228_128), "fvcore", quality=Quality(200, 0.8),
        ),
        b=Side(
            "small.json", "report", "cd" * 32, NETWORK, (Input((1, 3, 224, 224)),),
            Sizes(12_700_100, 2_065_000_000, 50_800_400), "torch", ("repair bn",),
            Quality(200, 0.75, agreement=0.9), 2.5, Sizes(25_557_032, 4_133_742_592, 102_228_128),
            Quality(200, 0.8), 4.5,
        ),
        relation="cut",
        verdict="small.json was cut from dense.pth",
        layers=(
            LayerDifference("conv1", "Conv2d", (64, 3, 7, 7), (40, 3, 7, 7), 9408, 5880, 118, 74, 0.25),
            LayerDifference("same", "Linear", (4, 4), (4, 4), 16, 16, 16, 16, 0.0),
            LayerDifference("=gone@", "Linear", (4, 4), None, 16, None, 16, None),
        ),
        groups=(GroupDifference("conv1", 64, 64, 40, 40), GroupDifference("fc", 10, 8, 7)),
        tensors=TensorCounts(3, 2, 0, 1, 0),
        options=(OptionDifference("speedup", 2.0, 3.0), OptionDifference("only", ("a", "b"), None)),
        data=DataFacts("digits", 200, True),
        notes=("identified",),
        command=("prune", "diff", "dense|1.pth", "a b.json"),
    )  # fmt: skip
