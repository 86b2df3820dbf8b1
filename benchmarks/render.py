"""Write the numbers of `benchmarks/results/*.json` into the pages, between `<!-- results: NAME -->` and `<!-- end -->`.

`python -m benchmarks.render` writes; `--check` fails when a page and the JSON differ.
"""

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from benchmarks import front
from benchmarks import ledger as rules
from plora.results import SCORES, Score

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
NONE = "–"
SHOWN_TEXTS = 3
"""Of the continuations of each split."""
PAGES = (
    *("README.md", "docs/index.md", "docs/guide/first-run.md"),
    *("docs/results/index.md", "docs/results/text.md", "docs/results/digits.md"),
    *("docs/results/ledger.md", "docs/results/images.md", "docs/results/language-models.md"),
    "docs/results/segmentation.md",
    "docs/results/words.md",
    "docs/results/targets.md",
    "docs/results/blocks.md",
    "plora/backbones/glyph_vit/README.md",
)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table, the first `left` columns to the left, the others to the right."""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * left + " ---: |" * (len(heads) - left)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def source(data: dict[str, object]) -> str:
    """Where the numbers come from."""
    versions = data["versions"]
    assert isinstance(versions, dict)
    shown = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"`{data['command']}`, {data['date']}, {data['hardware']}; {shown}; commit `{data['commit']}`."


def percent(value: object) -> str:
    return f"{100 * value:.1f}" if isinstance(value, int | float) else "n/a"


def quickstart(data: dict[str, object], stream: str) -> str:
    runs = [row for row in _rows(data, "runs") if row["stream"] == stream]
    order = ["frozen-ridge", "frozen-ranpac", "sequential", "o_lora", "replay", "per_task", "joint"]
    runs.sort(key=lambda row: order.index(str(row["method"])))
    tasks = runs[0]["tasks"]
    assert isinstance(tasks, list)
    few = len(tasks) <= 6  # else the first and the last stand for all
    score = SCORES[str(runs[0].get("score", "accuracy"))]
    rows = []
    for row in runs:
        last = row["last_row"]
        assert isinstance(last, list)
        values = [row[name] for name in ("accuracy", "backward_transfer", "forgetting")]
        values += last if few else [last[0], last[-1]]
        cells = ["n/a" if value is None else score.text(float(str(value))) for value in values]
        rows.append([f"`{row['method']}`", *cells, f"{row['trainable']:,}", f"{row['seconds']:.0f}"])
    shown = map(str, tasks) if few else (f"task 1 of {len(tasks)}", f"task {len(tasks)}")
    mean = "ACC" if score.name == "accuracy" else "mean"
    heads = ["method", mean, "BWT", "forgetting", *shown, "trainable", "seconds"]
    unit = "Percent" if score.name == "accuracy" else f"{score.label[:1].upper()}{score.label[1:]}"
    return f"{table(heads, rows)}\n\n{unit}, one seed. {source(data)}"


def step(data: dict[str, object]) -> str:
    rows = [
        [
            str(row["slots"]),
            *(f"{row[f'{name}_ms']:.0f}" for name in ("peft_train", "peft_eval", "concatenated", "folded")),
            *(
                _smaller_in_bold(row[f"{ours}_vs_peft_eval"], row[f"{ours}_vs_peft_train"])
                for ours in ("concatenated", "folded")
            ),
        ]
        for row in _rows(data, "rows")
    ]
    heads = [
        "slots",
        "PEFT train, ms",
        "PEFT eval, ms",
        "plora, ms",
        "plora folded, ms",
        "faster than PEFT eval / train",
    ]
    heads += ["folded: eval / train"]
    flops = data["flops"]
    assert isinstance(flops, dict)
    folded = flops["folded"]
    return (
        f"{table(heads, rows)}\n\nA step with 20 slots takes {data['concatenated_20_over_1']} times one with 1; "
        f"folded, both need {folded['1']:,} and {folded['20']:,} floating-point operations. {source(data)}"
    )


def _smaller_in_bold(one: object, two: object) -> str:
    first, second = f"{one}×", f"{two}×"
    return f"**{first}** / {second}" if float(str(one)) <= float(str(two)) else f"{first} / **{second}**"


def stream(data: dict[str, object]) -> str:
    seconds, accuracy, errors, speedup = (data[key] for key in ("seconds", "accuracy", "standard_error", "speedup"))
    assert isinstance(seconds, dict)
    assert isinstance(accuracy, dict)
    assert isinstance(errors, dict)
    assert isinstance(speedup, dict)
    names = {
        "padded": "PEFT, train mode, padded to 128",
        "tuned": "PEFT, eval mode, dynamic padding",
        "plora": "plora run",
    }
    rows = [
        [
            title,
            precision,
            f"{seconds[f'{name}_{precision}']:.0f}",
            f"{percent(accuracy[f'{name}_{precision}'])} ± {percent(errors[f'{name}_{precision}'])}",
            "" if name == "plora" else f"{speedup[f'{precision}_vs_{name}']}×",
        ]
        for precision in ("fp32", "bf16")
        for name, title in names.items()
    ]
    heads = ["loop", "precision", "seconds", "mean accuracy ± s.e.", "plora is faster by"]
    return (
        f"{table(heads, rows)}\n\nTexts per task: {data['train_texts']} to train, {data['test_texts']} to test; "
        f"{data['seeds']} seeds. "
        f"plora in bf16 against the padded fp32 loop: {speedup['bf16_vs_padded_fp32']}×. {source(data)}"
    )


def memory(data: dict[str, object]) -> str:
    names = ("peft_train", "peft_eval", "concatenated", "folded")
    rows = [[str(row["slots"]), *(f"{row[f'{name}_mib']:,}" for name in names)] for row in _rows(data, "rows")]
    heads = ["slots", "PEFT train, MiB", "PEFT eval, MiB", "plora, MiB", "plora folded, MiB"]
    return f"{table(heads, rows)}\n\nPeak memory of the whole process. {source(data)}"


def distilbert(data: dict[str, object]) -> str:
    titles = {"peft_train": "PEFT, train mode", "peft_eval": "PEFT, eval mode", "concatenated": "plora"}
    rows = [
        [titles[str(row["way"])], str(row["batches_per_second"]), f"{row['peak_memory_mib']:,}"]
        for row in _rows(data, "rows")
    ]
    return f"{table(['loop', 'batches per second', 'peak memory, MiB'], rows)}\n\n{source(data)}"


def keeping(data: dict[str, object]) -> str:
    slot, saving, extend, resume = (data[key] for key in ("slot", "step_checkpoint", "extend", "resume"))
    assert isinstance(slot, dict)
    assert isinstance(saving, dict)
    assert isinstance(extend, dict)
    assert isinstance(resume, dict)
    rows = [
        ["a verified checkpoint, the slowest of five tasks", f"{data['checkpoint_seconds']} s"],
        ["a slot on disk beyond its tensors", f"{slot['more_bytes']:,} of {slot['folder_bytes']:,} bytes"],
        ["a checkpoint inside a task", f"{1000 * saving['seconds']:.0f} ms"],
        ["the same at the default interval, share of the time", f"{100 * saving['share_at_default']:.2f} %"],
        ["`plora resume`, from process start to training", f"{resume['resume_seconds']} s"],
        ["the same beyond the time to load the backbone", f"{resume['beyond_backbone_seconds']} s"],
        ["`extend` by a task, training and all else", f"{extend['extend_seconds']} s"],
        ["a run of that task alone", f"{extend['task_alone_seconds']} s"],
    ]
    disk = [
        [
            f"`{row['method']}`",
            str(row["tasks"]),
            *(_mib(row[f"{part}_bytes"]) for part in ("slots", "heads", "manifests", "predictions")),
            str(row["checkpoint_seconds"]),
        ]
        for row in _rows(data, "disk")
    ]
    heads = ["method", "tasks", "slots, MiB", "heads, MiB", "manifests, MiB", "predictions, MiB", "checkpoint, s"]
    return f"{table(['what', 'cost'], rows)}\n\n{table(heads, disk)}\n\n{source(data)}"


def keeping_many(data: dict[str, object]) -> str:
    """One stream of very many tasks: seconds of each command, bytes of what it leaves."""
    seconds, sizes = _part(data, "seconds"), _part(data, "bytes")
    commands = {
        "run_until_killed": "`plora run`, killed after its last checkpoint",
        "resume_killed": "`plora resume` of that run",
        "verify": "`plora verify`",
        "resume_finished": "`plora resume` of the finished run",
        "report": "`plora report`",
    }
    kept = {
        "run_folder": "the run folder",
        "slots": "slots in it",
        "predictions": "predictions",
        "manifests": "all manifests",
        "largest_manifest": "the largest manifest",
        "results": "`results.json`",
        "page": "the report page",
    }
    rows = [[title, f"{seconds[name]} s"] for name, title in commands.items()]
    rows += [[title, f"{_mib(sizes[name])} MiB"] for name, title in kept.items()]
    heads = [f"{int(str(data['tasks'])):,} tasks of two classes, `{data['method']}`", ""]
    return f"{table(heads, rows)}\n\n{source(data)}"


def report(data: dict[str, object]) -> str:
    rows = [
        [f"open in Chromium, median of {data['repeats']}", f"{data['open_seconds']} s"],
        ["open in Chromium, slowest", f"{data['slowest_open_seconds']} s"],
        ["size of the file", f"{data['megabytes']} MB"],
        ["`plora report`, from records to file", f"{data['write_seconds']} s"],
    ]
    heads = [f"a report of {data['runs']} runs of {data['tasks']} tasks", ""]
    return f"{table(heads, rows)}\n\n{source(data)}"


def analysis(data: dict[str, object]) -> str:
    rows = [
        ["both tables, from process start to end", f"{data['seconds']} s"],
        [f"table of methods with {data['metrics']} metrics", f"{data['methods_seconds']} s"],
        [f"paired differences of ACC, {data['pairs']} pairs", f"{data['differences_seconds']} s"],
        ["peak memory of the process", f"{data['peak_memory_mib']:,} MiB"],
    ]
    heads = [f"{data['runs']} runs of {data['tasks']} tasks of {data['examples_per_task']:,} test examples", ""]
    return f"{table(heads, rows)}\n\n{source(data)}"


def fisher(data: dict[str, object]) -> str:
    titles = {
        "loop": "a loop over examples and classes",
        "jacobians": "a loop over examples, their classes at once",
        "plora": "plora",
    }
    speedup = {name: float(str(value)) for name, value in _part(data, "speedup").items()}
    best_tuned = min(speedup, key=speedup.__getitem__)
    gains = {name: f"**{value}×**" if name == best_tuned else f"{value}×" for name, value in speedup.items()}
    rows = [[title, f"{data[f'{name}_seconds']:.3g}", gains.get(name, "")] for name, title in titles.items()]
    heads = [
        f"{data['texts']} texts, {data['classes']} classes, {data['parameters']:,} parameters",
        "seconds",
        "plora is faster by",
    ]
    difference = f"Largest difference, relative to the largest value of a tensor: {data['largest_difference']:.1e}."
    return f"{table(heads, rows)}\n\n{difference} {source(data)}"


def prefix(data: dict[str, object]) -> str:
    rows = []
    for row in _rows(data, "rows"):
        kept, computed, speedup = (row[key] for key in ("kept_seconds", "computed_seconds", "speedup"))
        assert isinstance(kept, dict)
        assert isinstance(computed, dict)
        assert isinstance(speedup, dict)
        rows += [[str(row["blocks"]), name, f"{computed[name]}", f"{kept[name]}", f"{speedup[name]}×"] for name in kept]
        rows.append([str(row["blocks"]), "operations of a step", "", "", f"{row['fewer_operations']}×"])
    heads = ["blocks", "what", "every block, seconds", "kept, seconds", "less by"]
    texts = _rows(data, "rows")[0]["texts"]
    return f"{table(heads, rows, left=2)}\n\n{texts} training texts. {source(data)}"


def orthogonality(data: dict[str, object]) -> str:
    found = _part(data, "orthogonality")
    rows = [
        ["a step without the term", f"{found['without_ms']:.0f} ms"],
        ["a step with it", f"{found['with_ms']:.0f} ms"],
        ["more, median of neighbouring steps", f"{percent(found['more'])} %"],
        ["the term alone, forward and back", f"{found['term_ms']:.1f} ms"],
        [f"its diagnostics, in every {found['log_every']}th step", f"{found['diagnostics_ms']:.1f} ms"],
        ["both, share of a step", f"{percent(found['alone'])} %"],
    ]
    heads = [f"orthogonality over {found['slots']} slots", ""]
    return f"{table(heads, rows)}\n\n{source(data)}"


def compiled(data: dict[str, object]) -> str:
    titles = {"eager": "as it is", "dynamic": "compiled, `dynamic=True`", "padded": "compiled, padded to two lengths"}
    rows = []
    for kind, part in (("a training step", "compile_train"), ("a scoring pass", "compile_score")):
        found = _part(data, part)
        for name, title in titles.items():
            way = _part(found, name)
            gain = [f"{way['faster']:.2f}×", f"{way['compile_seconds']:.0f}", _until_it_pays(way)]
            rows.append([kind, title, f"{way['ms']:.0f}", *(["", "", ""] if name == "eager" else gain)])
    shown = table(["what", "way", "ms", "faster by", "seconds to compile", "pays after"], rows, left=2)
    graphs, score = _part(data, "graphs"), _part(data, "compile_score")
    per_task = graphs["per_task"]
    assert isinstance(per_task, list)
    alone = per_task.index(0) if 0 in per_task else len(per_task)
    return (
        f"{shown}\n\nLargest difference of the compiled states, relative to the largest value: "
        f"{score['difference']:.1e}. Slots side by side, traced without compiling: {graphs['breaks']} graph breaks; "
        f"compiled for each of the first {alone} of {graphs['tasks']} tasks (PyTorch's limit is "
        f"{graphs['limit']}; those after it ran uncompiled); another length {_times(graphs['another_length'])}, "
        f"another route {_times(graphs['another_route'])}, a third route "
        f"{_times(graphs['third_route'])}. {source(data)}"
    )


def _until_it_pays(way: dict[str, object]) -> str:
    """How many times a compiled step must be done until it has saved what compiling took."""
    ms, faster, seconds = (way[key] for key in ("ms", "faster", "compile_seconds"))
    assert isinstance(ms, float)
    assert isinstance(faster, float)
    assert isinstance(seconds, float)
    return f"about {round(1000 * seconds / (ms * (faster - 1)), -2):,.0f}" if faster > 1 else "never"


def _times(count: object) -> str:
    return "compiled nothing" if count == 0 else "compiled anew"


def one_pass(data: dict[str, object]) -> str:
    measured = _rows(_part(data, "one_pass"), "rows")
    processes = any("processes_ms" in row for row in measured)
    rows = [
        [
            str(row["length"]),
            str(row["runs"]),
            f"{row['alone_ms']:.0f}",
            f"{row['together_ms']:.0f}",
            f"{row['faster']:.2f}×",
            *([f"{row['processes_ms']:.0f}" if "processes_ms" in row else ""] if processes else []),
            f"{row['difference']:.0e}",
        ]
        for row in measured
    ]
    heads = ["tokens", "runs", "one by one, ms", "one pass, ms", "faster by"]
    heads += [*(["processes at once, ms"] if processes else []), "gradients differ by"]
    return f"{table(heads, rows, left=0)}\n\n{source(data)}"


def sweep(data: dict[str, object]) -> str:
    rows = [
        ["one after the other, one thread", f"{data['one_after_the_other_seconds']}", ""],
        ["two workers, one thread each", f"{data['two_workers_seconds']}", f"{data['speedup']}×"],
    ]
    heads = [f"{data['runs']} equal runs", "seconds", "faster by"]
    return f"{table(heads, rows)}\n\n{source(data)}"


def text(data: dict[str, object]) -> str:
    """The methods of one stream, best first: the first order of the tasks with every seed, then the other orders."""
    runs = _rows(data, "runs")
    first = runs[0]["tasks"]
    for run in runs:
        if run["seed"] == 1:  # other seeds than 0 have the stream's own order
            first = run["tasks"]
    rows = []
    elsewhere = {}
    told = {str(run["method"]) for run in runs if run["scenario"] != data["scenario"]}
    for method in dict.fromkeys(str(run["method"]) for run in runs):
        own = [run for run in runs if run["method"] == method]
        seeds = [run for run in own if run["tasks"] == first]
        others = [run for run in own if run["tasks"] != first]
        kept = max(int(str(run.get("remembered_bytes", run.get("strategy_bytes")))) for run in own)
        rows.append(
            (
                100 * fmean(float(str(run["accuracy"])) for run in seeds),
                [
                    f"`{method}`{', told the task' if method in told else ''}",
                    _spread(seeds, "accuracy"),
                    _spread(others, "accuracy"),
                    *(_spread(seeds, name) for name in ("average_incremental_accuracy", "forgetting", "task_accuracy")),
                    f"{kept / 1024:,.0f}" if kept else "",
                    f"{fmean(float(str(run['seconds'])) for run in own):.0f}",
                ],
            )
        )
        if others and method not in told:
            elsewhere[f"`{method}`"] = 100 * fmean(float(str(run["accuracy"])) for run in others)
    rows.sort(key=lambda row: -row[0])
    means = {str(cells[0]): mean for mean, cells in rows if not str(cells[0]).endswith("told the task")}
    floor = next(name for name in means if name.startswith("`frozen"))
    best = next(name for name in means if name != "`joint`" and not name.startswith("`frozen"))
    best_elsewhere = max((name for name in elsewhere if not name.startswith("`frozen")), key=elsewhere.__getitem__)
    ceiling = means["`joint`"]
    said = (
        f"Of the methods that learn task after task {best} is the best in the stream's own order: "
        f"{_signed(means[best] - means[floor])} points against the best floor on the same texts, {floor}, and "
        f"{_signed(means[best] - ceiling)} against `joint`; the aim, 3 points below it at most, is "
        f"{'met' if means[best] >= ceiling - 3 else 'missed'}. In the other orders {best_elsewhere} is the best: "
        f"{elsewhere[best_elsewhere]:.1f}, {_signed(elsewhere[best_elsewhere] - ceiling)} against `joint`."
    )
    above, below = ceiling - means[floor], ceiling - means["`sequential`"]
    tells = round(above, 1) >= 5 and round(below, 1) >= 5
    said += (
        f" `joint` is {_signed(above)} points against that floor and {_signed(below)} against `sequential`: the stream "
        f"{'tells' if tells else 'does not tell'} methods apart as the project asks, 5 points each"
        f"{'' if tells else ', so it says more of the floors than of the methods'}."
    )
    heads = ["method", "ACC", "other orders", "AIA", "forgetting", "TA", "KiB kept", "seconds"]
    chosen = data["chosen_on_validation"]
    assert isinstance(chosen, dict)
    searched = data["searched"]
    assert isinstance(searched, dict)
    settings = [
        [f"`{study}`", f"`{json.dumps(values)}`", ", ".join(f"`{name}`" for name in _edges(values, searched[study]))]
        for study, values in chosen.items()
    ]
    how = (
        f"Percent, {data['scenario']}-incremental; mean ± standard deviation over the seeds in the order "
        f"{', '.join(map(str, first if isinstance(first, list) else []))}, then of ACC over other "
        "orders; KiB kept are what strategies and the router remember; "
        "seconds of a run beside another one."
    )
    found = table(["study", "chosen on validation data", "at the edge of what was tried"], settings, left=3)
    parts = [said, table(heads, [cells for _, cells in rows]), how, _origins(data), found, *_whole(data)]
    return "\n\n".join(parts)


def arguments(data: dict[str, object]) -> str:
    """The methods that tag words, best first, those that are told the task apart; and what the stream tells."""
    runs = _rows(data, "runs")
    means: dict[str, float] = {}
    rows = []
    for method in dict.fromkeys(str(run["method"]) for run in runs):
        own = [run for run in runs if run["method"] == method]
        means[method] = fmean(100 * float(str(run["mean"])) for run in own)
        told = own[0]["scenario"] == "task"
        cells = [_spread(own, name) for name in ("mean", "forgetting", "entity_f1_strict", "word_accuracy")]
        trainable = max(int(str(run["trainable"])) for run in own)
        seconds = fmean(float(str(run["seconds"])) for run in own)
        shown = [f"`{method}`{', told the task' if told else ''}", str(len(own)), *cells]
        rows.append((told, -means[method], [*shown, f"{trainable:,}", f"{seconds:.1f}"]))
    above, below = means["joint"] - means["frozen"], means["joint"] - means["sequential"]
    tells = round(above, 1) >= 5 and round(below, 1) >= 5
    said = (
        f"`joint` is {_signed(above)} points against a head on frozen features, and {_signed(below)} against "
        f"`sequential`, which nothing protects: the stream {'tells' if tells else 'does not tell'} methods apart as "
        "the project asks, 5 points each."
    )
    heads = ["method", "seeds", "entity F1", "forgetting", "strict F1 of all", "words right", "trainable", "seconds"]
    tasks = runs[0]["tasks"]
    assert isinstance(tasks, list)
    how = (
        f"Percent, mean ± standard deviation over the seeds; {len(tasks)} tasks, {runs[0]['train_sentences']:,} "
        f"sentences to train and {runs[0]['test_sentences']:,} to test. {source(data)}"
    )
    return "\n\n".join([said, table(heads, [cells for _, _, cells in sorted(rows)]), how])


def targets(data: dict[str, object]) -> str:
    """The methods, best first: the score of the runs and what was forgotten of it, the others after the last task."""
    runs = _rows(data, "runs")
    said = {key: value for key, value in _part(runs[0], "score").items() if value is not None}  # null: no end
    score = Score(**said)  # type: ignore[arg-type]
    others = [SCORES[name] for name in _part(runs[0], "scores") if name != score.name]
    found = []
    for method in dict.fromkeys(str(run["method"]) for run in runs):
        own = [run for run in runs if run["method"] == method]
        cells = [_spread_of(score, [run[name] for run in own]) for name in ("accuracy", "forgetting")]
        cells += [_spread_of(other, [_part(run, "scores")[other.name] for run in own]) for other in others]
        mean = fmean(float(str(run["accuracy"])) for run in own)
        trainable, seconds = (
            max(int(str(run["trainable"])) for run in own),
            fmean(float(str(r["seconds"])) for r in own),
        )
        found.append((-score.sign * mean, [f"`{method}`", *cells, f"{trainable:,}", f"{seconds:.0f}"]))
    heads = ["method", score.label, "forgetting", *(other.label for other in others), "trainable", "seconds"]
    before = score.with_unit(fmean(float(str(run["before"])) for run in runs))
    seeds, (train, test) = len({run["seed"] for run in runs}), _list(runs[0]["texts"])
    return (
        f"{table(heads, [row for _, row in sorted(found, key=lambda one: one[0])])}\n\nMeans over the tasks after the "
        f"last one, {seeds} seeds, ± standard deviation; {score.end} is best. Before any task: {before}. {train} texts "
        f"of the first task to train, {test} to test. {source(data)}"
    )


def _spread_of(score: Score, values: Sequence[object]) -> str:
    """Mean and standard deviation as people read them."""
    known = [float(str(value)) for value in values if value is not None]
    if not known:
        return "n/a"
    return score.text(fmean(known)) + (f" ± {score.text(stdev(known))}" if len(known) > 1 else "")


def digits(data: dict[str, object]) -> str:
    """The methods, best first, those that are told the task apart; what the stream tells, and what was chosen."""
    runs = _rows(data, "runs")
    means: dict[str, float] = {}
    rows = []
    told = {str(run["method"]) for run in runs if run["scenario"] == "task"}
    for method in dict.fromkeys(str(run["method"]) for run in runs):
        own = [run for run in runs if run["method"] == method]
        means[method] = 100 * fmean(float(str(run["accuracy"])) for run in own)
        cells = [_spread(own, name) for name in ("accuracy", "average_incremental_accuracy", "forgetting")]
        trainable = max(int(str(run["trainable"])) for run in own)
        seconds = fmean(float(str(run["seconds"])) for run in own)
        shown = [f"`{method}`{', told the task' if method in told else ''}", str(len(own)), *cells]
        rows.append((method in told, -means[method], [*shown, f"{trainable:,}", f"{seconds:.1f}"]))
    floor = max((method for method in means if method.startswith("frozen")), key=means.__getitem__)
    learned = max(
        (method for method in means if method != "joint" and method not in told and not method.startswith("frozen")),
        key=means.__getitem__,
    )
    above, below = means["joint"] - means[floor], means["joint"] - means["sequential"]
    tells = round(above, 1) >= 5 and round(below, 1) >= 5
    against = means[learned] - means[floor]
    said = (
        f"`joint` is {_signed(above)} points against the best head on frozen features, `{floor}`, and {_signed(below)} "
        f"against `sequential`, which nothing protects: the stream {'tells' if tells else 'does not tell'} methods "
        f"apart as the project asks, 5 points each{'' if tells else ', so it says more of the floor than of them'}. Of "
        f"the methods that learn task after task and are not told the task, `{learned}` is the best: "
        f"{_signed(against)} points against that floor, {_signed(means[learned] - means['joint'])} against `joint`."
    )
    heads = ["method", "seeds", "ACC", "AIA", "forgetting", "trainable", "seconds"]
    tasks = runs[0]["tasks"]
    assert isinstance(tasks, list)
    first = runs[0]
    how = (
        f"Percent, mean ± standard deviation over the seeds; {len(tasks)} tasks, {first['train_images']:,} images to "
        f"train and {first['test_images']:,} to test. A head that is solved on frozen features is the same for every "
        f"seed. {source(data)}"
    )
    return "\n\n".join([said, table(heads, [cells for _, _, cells in sorted(rows)]), how, *_chosen(data)])


def images(data: dict[str, object]) -> str:
    """The methods, best first, what they keep and take, and by how much they differ from floor, ceiling and nothing."""
    runs = _rows(data, "runs")
    rows, means = [], dict[str, float]()
    for method in dict.fromkeys(str(run["method"]) for run in runs):
        own = [run for run in runs if run["method"] == method]
        means[method] = 100 * fmean(float(str(run["accuracy"])) for run in own)
        cells = [_spread(own, name) for name in ("accuracy", "average_incremental_accuracy", "forgetting")]
        slots = [float(str(run["active_slots"])) for run in own if run["active_slots"] is not None]
        kept = fmean(float(str(run["kept_bytes"])) for run in own) / 1024
        shown = [f"{fmean(slots):.1f}" if slots else NONE, f"{kept:,.0f}", str(own[0]["passes"])]
        seconds = fmean(float(str(run["seconds"])) for run in own)
        rows.append((-means[method], [f"`{_label(method)}`", str(len(own)), *cells, *shown, f"{seconds:.1f}"]))
    heads = ["method", "runs", "ACC", "AIA", "forgetting", "active slots", "KiB kept", "passes", "seconds"]
    first = runs[0]
    how = (
        f"Percent, mean ± standard deviation over seeds and orders of the classes; {len(_list(first['tasks']))} tasks, "
        f"{first['train_images']:,} images to train and {first['test_images']:,} to test. KiB kept: on disk after the "
        "last task, the network left out; passes: forward passes of the network per prediction. A head that is solved "
        f"on frozen features is the same for every seed. {source(data)}"
    )
    apart: dict[str, dict[str, str]] = {}
    for pair in _rows(data, "paired"):
        low, high = map(float, map(str, _list(pair["interval"])))
        told = f"{_signed(float(str(pair['points'])))} ({_signed(low)} to {_signed(high)})"
        apart.setdefault(str(pair["method"]), {})[str(pair["against"])] = told
    against = ["frozen-ranpac", "joint", "sequential"]
    lines = [[f"`{method}`", *(own.get(other, NONE) for other in against)] for method, own in apart.items()]
    differences = table(["ACC − ACC of", *(f"`{other}`" for other in against)], lines)
    said = "Points, paired by seed and order, with a 95 % t interval over the pairs."
    parts = [table(heads, [cells for _, cells in sorted(rows)]), how]
    if lines:
        parts += [differences, said]
    return "\n\n".join([*parts, *_chosen(data)])


def language_models(data: dict[str, object]) -> str:
    """Each arm before and after, on text of its own kind and of its base's, and what part of full's gain it reaches."""
    runs = _rows(data, "runs")
    gains = {id(run): _nats(run, "adapted", "before") - _nats(run, "adapted", "after") for run in runs}
    full = {run["split"]: gains[id(run)] for run in runs if run["method"] == "full"}
    rows = []
    for run in sorted(runs, key=lambda run: (str(run["split"]), -gains[id(run)])):
        of_full = full.get(run["split"])
        ranks = f"r = {run['rank']}, {run['targets']}" if run["rank"] else ""
        shown = [f"`{run['method']}`", ", ".join([*filter(None, [ranks]), *map(str, _list(run["modules"]))])]
        for part in ("adapted", "base"):
            shown += [f"{_score(run, part, when, 'perplexity'):.2f}" for when in ("before", "after")]
        share = f"{100 * gains[id(run)] / of_full:.0f}" if of_full is not None and of_full >= 0.05 else NONE
        bytes_, memory = int(str(run["stored_bytes"])), run["peak_memory_bytes"]
        shown += [
            f"{_score(run, 'adapted', 'after', 'nats_per_byte'):.4f}",
            share,
            f"{run['learning_rate']:g}",
            f"{run['trainable']:,}",
            f"{bytes_ / 1024:,.0f}",
            f"{run['seconds']:,}",
            f"{run['tokens_per_second']:,}",
            NONE if memory is None else f"{int(str(memory)) / 2**20:,.0f}",
        ]
        rows.append([str(run["split"]), *shown])
    heads = ["split", "method", "what trains", "before", "after", "base before", "base after", "nats per byte"]
    heads += ["% of full's gain", "learning rate", "trainable", "KiB saved", "seconds", "tokens per second", "MiB"]
    said = (
        "Perplexity per token on held-out text of the part that is adapted to, and of the base's. % of full's gain: of "
        f"the nats per token that `full` gains on the same text, where these are 0.05 or more. {source(data)}"
    )
    return "\n\n".join([table(heads, rows, left=3), said, *_chosen(data)])


def continuations(data: dict[str, object]) -> str:
    """What each arm writes after the beginnings of held-out documents: how varied, how likely, and some of it."""
    found = _rows(data, "continuations")
    kinds = {str(run["label"]): str(run["method"]) for run in _rows(data, "runs")}
    rows, blocks = [], []
    for one in found:
        distinct, under = _part(one, "distinct"), _part(one, "nats_per_byte")
        own = under[str(one["run"])]
        others = [value for judge, value in under.items() if judge != one["run"]]
        shares = [f"{float(str(distinct[n])):.3f}" if n in distinct else NONE for n in ("1", "2", "3")]
        near = [NONE if value is None else f"{float(str(value)):.3f}" for value in (own, *others)]
        repeated = NONE if one["repeated"] is None else f"{float(str(one['repeated'])):.3f}"
        ended = f"{one['ended']} of {len(_rows(one, 'texts'))}"
        rows.append([str(one["split"]), f"`{kinds[str(one['run'])]}`", *shares, repeated, *near, ended])
    for split in dict.fromkeys(one["split"] for one in found):
        of_split = [one for one in found if one["split"] == split]
        for number in range(SHOWN_TEXTS):
            prompt = str(_rows(of_split[0], "texts")[number]["prompt"])
            lines = [f"{split}: {prompt} …"]
            lines += [
                f"  {kinds[str(one['run'])]:<10}  … {' '.join(str(_rows(one, 'texts')[number]['text']).split())}"
                for one in of_split
            ]
            blocks.append("\n".join(lines))
    heads = ["split", "method", "distinct-1", "distinct-2", "distinct-3", "repeated", "nats per byte: own model"]
    said = (
        "The likeliest token each time, at most 64. distinct-n: share of different sequences of n words. repeated: of "
        "four words, those that stood before in the same text. Nats per byte of what was written, under the model that "
        f"wrote it and under the other one. {source(data)}"
    )
    shown = "```text\n" + "\n\n".join(blocks).replace("`", "'") + "\n```"
    return "\n\n".join([table([*heads, "the other's", "ended by itself"], rows, left=2), said, shown])


def language_step(data: dict[str, object]) -> str:
    """A step with LoRA on every linear layer against one that trains all, and against PEFT."""
    rows = []
    for row in _rows(data, "rows"):
        ms, added = _part(row, "ms"), _part(row, "added_mib")
        full = min(float(str(ms[way])) for way in ("full_plain", "full_tuned", "full_chunked"))
        peft = min(float(str(ms[way])) for way in ("lora_peft_plain", "lora_peft_tuned"))
        rows.append(
            [
                *(f"{row['width']}", f"{row['parameters']:,}", f"{full:,.0f}", f"{ms['lora_plora']:,.0f}"),
                *(f"{row['lora_over_full']:.2f}×", f"{peft:,.0f}", f"{row['peft_over_lora']:.2f}×"),
                *(f"{min(float(str(added[way])) for way in ('full_tuned', 'full_chunked')):,.0f}",),
                *(f"{added['lora_plora']:,.0f}", f"{row['memory_over_full']:.2f}×"),
                f"{100 * float(str(row['gradients_and_optimizer_over_full'])):.1f}",
            ]
        )
    heads = ["width", "parameters", "all, ms", "LoRA, ms", "LoRA / all", "PEFT, ms", "PEFT / LoRA", "all adds, MiB"]
    heads += ["LoRA adds, MiB", "LoRA / all", "% of all's gradients and optimizer"]
    said = (
        f"{data['tokens']} tokens, rank 4 on every linear layer but the head, fp32. All: the fastest of training "
        "everything as it comes, with the fused optimizer in eval mode, and with plora's loss. PEFT: the faster of as "
        f"it comes and tuned in the same way. {source(data)}"
    )
    return f"{table(heads, rows)}\n\n{said}"


def language_packing(data: dict[str, object]) -> str:
    """Documents that share rows against rows of their own."""
    ways = ("packed", "padded", "padded_by_length")
    rows = []
    for row in _rows(data, "rows"):
        rates, counted = _part(row, "tokens_per_second"), _part(row, "counted")
        rows.append(
            [
                str(row["length"]),
                *(f"{rates[way]:,} ({100 * float(str(counted[way])):.0f} %)" for way in ways),
                f"{row['packed_over_padded']:.2f}×",
                f"{row['packed_over_padded_by_length']:.2f}×",
            ]
        )
    heads = ["longest row", "packed", "a row each", "a row each, of like length", "packed / a row each"]
    said = (
        "Tokens that count per second, and in brackets which share of the tokens in the rows count; the last two "
        f"columns divide the first of these numbers by the others. {source(data)}"
    )
    return f"{table([*heads, 'packed / of like length'], rows)}\n\n{said}"


def language_decoding(data: dict[str, object]) -> str:
    """Prompts of many tasks in one pass."""
    rows = []
    for row in _rows(data, "rows"):
        seconds = _part(row, "seconds")
        rows.append(
            [
                *(str(row["width"]), *(f"{seconds[way]:.2f}" for way in ("one_task", "mixed", "peft_adapter_names"))),
                *(f"{row['mixed_over_one_task']:.2f}×", f"{row['peft_over_mixed']:.2f}×"),
            ]
        )
    heads = ["width", "one task, s", "16 tasks, s", "PEFT, 16 tasks, s", "16 / one", "PEFT / plora"]
    said = (
        f"{data['tasks']} prompts, {data['tokens']} tokens each, written in one pass: with the slot of one task, and "
        f"each with its own. PEFT with `adapter_names`. {source(data)}"
    )
    return f"{table(heads, rows)}\n\n{said}"


def language_pretraining(data: dict[str, object]) -> str:
    """A whole run of a new network against a plain loop."""
    rates = _part(data, "tokens_per_second")
    return (
        f"`plora pretrain` learns {rates['plora']:,} tokens per second in {data['precision']}, checkpoints, scoring "
        f"and record included; a plain loop over the same batches {rates['plain']:,} "
        f"({data['plora_over_plain']:.2f}×). "
        f"{source(data)}"
    )


def _score(run: Mapping[str, object], part: str, when: str, name: str) -> float:
    values = _part(_part(dict(run), part), when)
    return float(str(values[name]))


def _nats(run: Mapping[str, object], part: str, when: str) -> float:
    return _score(run, part, when, "nats_per_token")


def _label(of: str) -> str:
    """The name of a run or study; of a part that is only named, its kind."""
    return re.sub(r"\{'kind': '(\w+)'\}", r"\1", of)


def _chosen(data: dict[str, object]) -> list[str]:
    """What each study chose, and whether it stands at the edge of what was tried; nothing where none was searched."""
    searched, settings = _part(data, "searched"), []
    for study, values in _part(data, "chosen_on_validation").items():
        assert isinstance(values, dict)
        edges = ", ".join(f"`{name}`" for name in _edges(values, {key: [*_list(searched[key])] for key in searched}))
        settings.append([f"`{_label(study)}`", ", ".join(f"`{key}={value}`" for key, value in values.items()), edges])
    heads = ["study", "chosen on validation data", "at the edge of what was tried"]
    return [table(heads, settings, left=3)] if settings else []


def glyph_vit(data: dict[str, object]) -> str:
    rows = [
        [f"`{row['stream']}`", f"{row['classes']}", f"{row['train']:,}", f"{row['test']:,}"]
        + [percent(row[name]) for name in ("means", "ridge", "pixel_means")]
        for row in _rows(data, "rows")
    ]
    heads = ["data", "classes", "train", "test", "class means", "ridge", "class means of pixels"]
    return f"{table(heads, rows)}\n\nPercent. {source(data)}"


def image_step(data: dict[str, object]) -> str:
    rows = [
        [
            str(slots),
            f"{data[f'stacked_{slots}_ms']:.0f}",
            f"{data[f'stacked_{slots}_over_1']}×" if slots > 1 else NONE,
            f"{data[f'vs_loop_{slots}']}×" if slots > 1 else NONE,
        ]
        for slots in (1, 10, 20)
    ]
    heads = ["slots", "ms", "of one slot", "faster than the loop"]
    return f"{table(heads, rows)}\n\nBatch 8, rank 10 on q and v, {data['precision']}; medians. {source(data)}"


ARMS = {
    "full": "all of the network",
    "lora": "LoRA, and what answers",
    "frozen": "what answers, on a frozen encoder",
    "linear": "a linear layer for each patch",
}


def segmentation(data: dict[str, object]) -> str:
    """The arms, best first: what is right in the end, of each domain too, and what it takes."""
    runs, rows = _rows(data, "runs"), []
    for arm in dict.fromkeys(str(run["arm"]) for run in runs):
        own = [run for run in runs if run["arm"] == arm]
        lasts = [_list(run["last_row"]) for run in own]
        domains = [_spread([{"iou": last[task]} for last in lasts], "iou") for task in range(len(lasts[0]))]
        kept, seconds = (fmean(float(str(run[name])) for run in own) for name in ("kept_bytes", "seconds"))
        peaks = [float(str(run["peak_memory_bytes"])) for run in own if run["peak_memory_bytes"] is not None]
        cells = [_spread(own, "mean_iou"), _spread(own, "forgetting"), *domains, f"{own[0]['trainable']:,}"]
        cells += [f"{seconds:.0f}", f"{fmean(peaks) / 2**20:,.0f}" if peaks else NONE, f"{kept / 1024:,.0f}"]
        rows.append((-fmean(float(str(run["mean_iou"])) for run in own), [ARMS[arm], str(len(own)), *cells]))
    first = runs[0]
    heads = ["what trains", "runs", "mean IoU", "forgetting", *map(str, _list(first["tasks"])), "trainable"]
    heads += ["seconds", "peak memory, MiB", "KiB kept"]
    said = (
        "Percent of mean IoU after the last task, over all tasks and of each, mean ± standard deviation over seeds; "
        f"{first['train_images']:,} images to train and {first['test_images']:,} to test. Peak memory is that of the "
        f"process. KiB kept: on disk after the last task. {source(data)}"
    )
    return "\n\n".join([table(heads, [cells for _, cells in sorted(rows)]), said, *_chosen(data)])


def segmentation_steps(data: dict[str, object]) -> str:
    """What holds old classes while new ones arrive, best first."""
    ways = {"lwf": "what the model said before", "replay": "images of old steps", "sequential": "nothing"}
    rows = []
    for run in _rows(data, "runs"):
        method, steps = str(run["method"]), _rows(run, "steps")
        way = ways.get(method, "all classes at once")
        if run["by_class"]:
            way = "queries of their own for each step" + (", and LoRA" if run["lora"] else "")
        iou = float(str(run["foreground_iou"]))
        last = [f"{100 * float(str(steps[-1][part])):.1f}" if steps else NONE for part in ("old", "new")]
        first = f"{100 * float(str(steps[0]['new'])):.1f}" if steps else NONE
        cells = [f"{100 * iou:.1f}", *last, first, f"{run['trainable']:,}", str(run["passes"]), f"{run['seconds']:.0f}"]
        rows.append((-iou, [way, f"`{'routed' if run['by_class'] else method}`", *cells]))
    heads = ["what holds old classes", "method", "all", "old", "new", "after the first step", "trainable", "passes"]
    said = (
        "Percent of mean IoU without the background: after the last step, of all classes, of those of earlier steps "
        f"and of its own; and of the first step's after that step. One seed. {source(data)}"
    )
    return "\n\n".join([table([*heads, "seconds"], [cells for _, cells in sorted(rows)]), said, *_chosen(data)])


def segmentation_step(data: dict[str, object]) -> str:
    """What a step takes and holds, of both ways."""
    ways = _part(data, "ways")
    rows = []
    for name in ("full", "lora"):
        way = _part(ways, name)
        parts = (way[part] for part in ("activation_bytes", "gradient_bytes", "optimizer_bytes", "bytes"))
        sizes = [f"{int(str(part)) / 2**20:,.0f}" for part in parts]
        rows.append([ARMS[name], f"{way['ms']:,.0f}", f"{way['trainable']:,}", *sizes])
    heads = ["what trains", "ms", "trainable", "activations, MiB", "gradients, MiB", "optimizer, MiB", "together, MiB"]
    said = (
        f"LoRA takes {data['time_lora_over_full']} of the time and {data['memory_lora_over_full']} of the memory of "
        f"training all; {data['precision']}, medians of {data['steps']} steps that alternate. Activations are what is "
        f"kept for the backward pass; weights, the same for both, are left out. {source(data)}"
    )
    return f"{table(heads, rows)}\n\n{said}"


def image_stream(data: dict[str, object]) -> str:
    rows, shown = _rows(data, "rows"), []
    for row in (rows[at] for at in sorted({0, 1, len(rows) // 2, len(rows) - 1})):
        numbers = [f"{row['train_seconds']:.2f}", f"{row['score_ms_per_image']:.2f}", f"{row['stored_bytes']:,}"]
        shown.append([str(row["task"]), *numbers, f"{int(str(row['peak_memory_bytes'])) / 1e6:,.0f}"])
    said = (
        f"`{data['method']}`, {data['tasks']} tasks. The last tenth of the tasks takes {data['train_last_over_first']} "
        f"times the first to learn, and {data['score_last_over_first_per_image']} times to score per test image (all "
        "tasks seen so far are scored)."
    )
    heads = ["task", "seconds to learn", "ms to score an image", "bytes of its checkpoint", "peak memory, MB"]
    return f"{table(heads, shown, left=0)}\n\n{said} {source(data)}"


def large_stream(data: dict[str, object]) -> str:
    rows = [[f"{row['images']:,}", f"{row['peak_mb']:,}"] for row in _rows(data, "rows")]
    said = (
        f"Ten times the images take {data['more_mb']} MB more, features and predictions; the benchmark fails above "
        f"{data['bound_mb']} MB. Images of {data['side']} × {data['side']}."
    )
    return f"{table(['images', 'peak memory, MB'], rows, left=0)}\n\n{said} {source(data)}"


def ahead(data: dict[str, object]) -> str:
    speeds = _part(data, "steps_per_second")
    rows = [[how, f"{speeds[how]:.2f}"] for how in ("ahead", "when needed")]
    said = (
        f"{data['ratio']} times as many steps with batches decoded ahead in {data['decoding_threads']} threads; "
        f"torch has {data['threads']}. "
        f"{data['images']:,} JPEG files of {data['file_side']} × {data['file_side']}, as "
        f"{data['side']} × {data['side']} in batches of {data['batch']}; medians of epochs in turns."
    )
    return f"{table(['each batch is decoded', 'steps per second'], rows)}\n\n{said} {source(data)}"


def router(data: dict[str, object]) -> str:
    streams = _part(data, "streams")
    found = {name: _part(streams, name) for name in streams}
    rows = [[what, *(percent(of[what]) for of in found.values())] for what in next(iter(found.values()))]
    heads = ["what it reads of the bare network", *(name.replace("-", " ") for name in found)]
    return f"{table(heads, rows)}\n\nPercent of validation texts, mean over tasks. {source(data)}"


def _origins(data: dict[str, object], rows: str = "runs") -> str:
    """Where rows come from: all of one call, or some of an earlier one."""
    calls: dict[str, list[str]] = {}
    for row in _rows(data, rows):
        call = row.get("call", data)
        assert isinstance(call, dict)
        # The first tables were all in bf16, and did not say so.
        calls.setdefault(f"in {row.get('precision', 'bf16')}, {source(call)}", []).append(f"`{row['method']}`")
    if len(calls) == 1:
        return f"Measured {next(iter(calls))}"
    few = sorted(calls, key=lambda call: len({*calls[call]}))
    said = [f"{', '.join(dict.fromkeys(calls[call]))}: {call}" for call in few[:-1]]
    return "".join(f"\n\n{line}" for line in [*said, f"All other rows: {few[-1]}"]).strip()


def text_in_short(data: dict[str, object]) -> str:
    """The two best methods of one stream, the ceiling, the best floor, and what nothing protects."""
    runs = [run for run in _rows(data, "runs") if run["scenario"] == data["scenario"]]
    own_order = next(run["tasks"] for run in runs if run["seed"] == 1)
    means: dict[str, float] = {}
    cells: dict[str, list[str]] = {}
    for method in dict.fromkeys(str(run["method"]) for run in runs):
        own = [run for run in runs if run["method"] == method and run["tasks"] == own_order]
        others = [run for run in runs if run["method"] == method and run["tasks"] != own_order]
        means[method] = fmean(float(str(run["accuracy"])) for run in own)
        kept = max(int(str(run.get("remembered_bytes", run.get("strategy_bytes")))) for run in own)
        shown = [_spread(own, "accuracy"), _spread(others, "accuracy"), _spread(own, "forgetting")]
        cells[method] = [f"`{method}`", *shown, f"{kept / 1024:,.0f}" if kept else ""]
    best = sorted(means, key=means.__getitem__, reverse=True)
    learned = [method for method in best if method != "joint" and not method.startswith("frozen")][:2]
    floor = next(method for method in best if method.startswith("frozen"))
    wanted = {*learned, "joint", floor, "sequential"}
    heads = ["method", "ACC", "ACC, other orders", "forgetting", "remembered, KiB"]
    shown_rows = table(heads, [cells[method] for method in best if method in wanted])
    return f"{shown_rows}\n\nPercent; three seeds, then two more orders of the tasks."


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")


def _edges(chosen: Mapping[str, object], searched: Mapping[str, object]) -> list[str]:
    """Names of the settings that stand at the edge of what was tried: others beyond it may be better.

    Of a list these are the smallest and the largest, of a range what is in its first or its last tenth.
    """
    found = []
    for key, values in searched.items():
        if isinstance(values, dict):
            low, high, own = (float(str(value)) for value in (values["low"], values["high"], chosen[key]))
            ends = [math.log(value) if values["log"] else value for value in (low, own, high)]
            if not 0.1 <= (ends[1] - ends[0]) / (ends[2] - ends[0]) <= 0.9:
                found.append(key)
            continue
        assert isinstance(values, list)
        if isinstance(chosen[key], list):  # of strategies: each number in them
            tried = [_numbers(value) for value in values]
            mine = _numbers(chosen[key])
        else:
            tried, mine = [{key: value} for value in values], {key: chosen[key]}
        for name, value in mine.items():
            numbers = [float(str(one[name])) for one in tried]
            if len({*numbers}) > 1 and float(str(value)) in (min(numbers), max(numbers)):
                found.append(name)
    return found


def _numbers(strategies: object) -> dict[str, object]:
    """Numbers among the settings of listed strategies, by name; of several strategies by that of the strategy too."""
    assert isinstance(strategies, list)
    return {
        name if len(strategies) == 1 else f"{strategy['kind']}.{name}": value
        for strategy in strategies
        for name, value in strategy.items()
        if name != "kind"
    }


def _whole(data: dict[str, object]) -> list[str]:
    """What was learned from all texts, where something was."""
    floors = _rows(data, "floors")
    if not floors:
        return []
    rows = [
        [
            f"`{run['method']}`",
            str(run["scenario"]),
            *(_spread([run], name) for name in ("accuracy", "forgetting", "task_accuracy")),
            f"{run['seconds']}",
        ]
        for run in floors
    ]
    said = (
        f"On all texts ({int(str(floors[0]['train_texts'])):,} to train, 128 tokens), one epoch where anything trains:"
    )
    heads = ["method", "scenario", "ACC", "forgetting", "TA", "seconds"]
    return [said, table(heads, rows, left=2), f"Percent, one seed. {_origins(data, 'floors')}"]


def _spread(runs: Sequence[Mapping[str, object]], name: str) -> str:
    values = [100 * value for run in runs if isinstance(value := run[name], int | float)]
    if not values:
        return NONE
    return f"{fmean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def blocks(data: dict[str, object]) -> str:
    """A row for each way, F1 of each class, and what adapters are against training all and in a forward pass."""
    runs = _rows(data, "runs")
    shares = {}
    tables = []
    for flat in (False, True):
        own = [run for run in runs if str(run["way"]).startswith("flat") == flat]
        names = list(_part(own[0], "f1"))
        rows = []
        for way in dict.fromkeys(str(run["way"]) for run in own):
            these = [run for run in own if run["way"] == way]
            shares[way] = fmean(float(str(run["macro_f1"])) for run in these)
            of_classes = [_spread([_part(run, "f1") for run in these], name) for name in names]
            cells = [_spread(these, name) for name in ("macro_f1", "accuracy")]
            seconds = fmean(float(str(run["seconds"])) for run in these)
            trainable = int(str(these[0]["trainable"]))
            rows.append([way, str(len(these)), *cells, *of_classes, f"{trainable:,}", f"{seconds:.0f}"])
        heads = ["way", "seeds", "macro-F1", "accuracy", *(f"F1 {name}" for name in names), "trainable", "seconds"]
        tables.append(table(heads, rows))
    adapters = {way: share for way, share in shares.items() if way.startswith(("pooled", "1 ×", "LoRA"))}
    best = max(adapters, key=adapters.__getitem__)
    forest, forward = _part(data, "forest"), _part(data, "forward")
    reached, times = 100 * adapters[best] / shares["full"], float(str(forward["ratio"]))
    said = (
        f"The best of the adapters, *{best}*, reaches {reached:.1f} % of the macro-F1 of training the whole network. "
        f"Pooled adapters multiply the time of a forward pass of ResNet-18 at 64 × 64 by {times:.3f} "
        f"(median of paired passes). Stage 1: macro-F1 {percent(data['stage_1_macro_f1'])}. A random forest on samples "
        f"and quantiser reaches {percent(forest['accuracy'])} % accuracy and macro-F1 {percent(forest['macro_f1'])} on "
        f"the {forest['classes']} types."
    )
    return "\n\n".join([*tables, said, f"Percent, mean ± standard deviation over the seeds. {source(data)}"])


def blocks_streams(data: dict[str, object]) -> str:
    """A row for each method, of each stream of ten types."""
    runs = _rows(data, "runs")
    rows = []
    for stream, method in dict.fromkeys((str(run["stream"]), str(run["method"])) for run in runs):
        own = [run for run in runs if (run["stream"], run["method"]) == (stream, method)]
        forgetting = NONE if method == "joint" else _spread(own, "forgetting")
        seconds = fmean(float(str(run["seconds"])) for run in own)
        tasks = own[0]["tasks"]
        assert isinstance(tasks, list)
        shown = [stream, str(len(tasks)), f"`{method}`", str(len(own)), _spread(own, "macro_f1"), forgetting]
        rows.append([*shown, f"{int(str(own[0]['trainable'])):,}", f"{seconds:.0f}"])
    heads = ["tasks are", "tasks", "method", "seeds", "macro-F1", "forgetting", "trainable", "seconds"]
    about = f"Percent, mean ± standard deviation over the seeds; {runs[0]['train_blocks']:,} blocks to train. "
    return f"{table(heads, rows)}\n\n{about}{source(data)}"


def blocks_cascade(data: dict[str, object]) -> str:
    """A row for each seed: a tree against a flat run, in right answers and in what the answers cost."""
    runs = _rows(data, "runs")
    rows = []
    for run in runs:
        whole = {way: float(str(_part(_part(run, "whole"), way)["accuracy"])) for way in ("pipeline", "oracle", "flat")}
        curves = {name: _rows(_part(run, "curves"), name) for name in ("thresholds", "flat")}
        lost = [100 * float(str(curves[name][0]["lost"])) for name in ("thresholds", "flat")]
        chosen = next(one for one in _rows(run, "chosen") if one["at"] == 0.01)
        rows.append(
            [
                f"`{run['method']}`",
                str(run["seed"]),
                *(percent(whole[way]) for way in ("pipeline", "oracle", "flat")),
                _between(_part(run, "gain")),
                *(f"{one:.2f}" for one in lost),
                _between(_part(run, "cost_gain"), digits=2),
                f"{percent(chosen['saved'])} at {100 * float(str(chosen['lost'])):.2f}",
            ]
        )
    heads = [
        *("method", "seed", "pipeline", "way told", "flat", "pipeline − flat"),
        *("J lost, pipeline", "J lost, flat", "pipeline − flat", "searches saved at J lost"),
    ]
    about = (
        f"Percent; {runs[0]['examples']:,} test blocks; J lost: what the answers cost above the cheapest types, in "
        "percent of these; intervals are 95 % over blocks, by the bootstrap. The last column takes thresholds that "
        "may lose 1 % on validation. "
    )
    return f"{table(heads, rows)}\n\n{about}{source(data)}"


def _between(difference: Mapping[str, object], digits: int = 1) -> str:
    """A difference with its interval, as percent."""
    value, low, high = (100 * float(str(difference[name])) for name in ("value", "low", "high"))
    return f"{value:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})".replace("-", "−")


def ledger(data: dict[str, object]) -> str:
    found = rules.Ledger.model_validate(data)
    found.require_sound()
    counts: Counter[str] = Counter()
    sections = []
    for setting in found.settings:
        published = any(row.published for row in setting.rows)  # on a stream of our own nothing is
        rows = []
        for row in setting.rows:
            measured = [None if name is None else rules.number(name) for name in row.measured]
            said = rules.status(row, setting, measured)
            counts[said] += 1
            method = f"`{row.method}`" if row.method else NONE
            cells = [row.name, f"{method}, {row.settings}" if row.settings else method, said]
            if published:
                cells.append(_cited(found.sources[row.source]) if row.source else NONE)
                cells += [text or NONE for text in row.published or [None] * len(setting.columns)]
            cells.append(" / ".join(NONE if value is None else percent(value) for value in measured) or NONE)
            cells.append(f"{rules.number(row.seconds):.0f} s, {rules.hardware(row.seconds)}" if row.seconds else NONE)
            rows.append(cells if published else cells[1:])
        heads = ["as published", "in plora", "status", "source", *setting.columns, "reproduced", "cost"]
        if not published:
            heads = ["in plora", "status", f"measured {' / '.join(setting.columns)}", "cost"]
        allowed = f" Tolerance in points: {setting.tolerance:g}." if setting.tolerance else ""
        shown = table(heads, rows, left=4 if published else 2)
        sections.append(f"## {setting.title}\n\n{setting.about}{allowed}\n\n{shown}")
    total = table(["status", "rows"], [[said, str(count)] for said, count in counts.most_common()])
    return "\n\n".join([total, *sections])


def _cited(source: rules.Source) -> str:
    return f"[{source.text}]({source.url}) {source.certainty}" if source.url else f"{source.text} {source.certainty}"


RENDERERS: dict[str, tuple[str, Callable[[dict[str, object]], str]]] = {
    "topics": ("quickstart", lambda data: quickstart(data, "topics")),
    "skills": ("quickstart", lambda data: quickstart(data, "skills")),
    "glyphs": ("quickstart", lambda data: quickstart(data, "glyphs")),
    "documents": ("quickstart", lambda data: quickstart(data, "documents")),
    "problems": ("quickstart", lambda _: front.problems()),
    "step": ("step", step),
    "stream": ("stream", stream),
    "memory": ("memory", memory),
    "distilbert": ("distilbert", distilbert),
    "keeping": ("keeping", keeping),
    "keeping_many": ("keeping-many", keeping_many),
    "fisher": ("fisher", fisher),
    "fisher_gpu": ("fisher-gpu", fisher),
    "step_gpu": ("step-gpu", step),
    "one_pass_gpu": ("choices-gpu", one_pass),
    "prefix": ("prefix", prefix),
    "orthogonality": ("choices", orthogonality),
    "compile": ("choices", compiled),
    "one_pass": ("choices", one_pass),
    "sweep": ("sweep", sweep),
    "report": ("report", report),
    "analysis": ("analysis", analysis),
    "docstrings": ("text-docstrings", text),
    "sentiment": ("text-sentiment", text),
    "five_texts": ("text-five-texts", text),
    "five_texts_in_short": ("text-five-texts", text_in_short),
    "router": ("router", router),
    "digits": ("digits", digits),
    "arguments": ("arguments", arguments),
    "blocks": ("blocks-ways", blocks),
    "blocks_streams": ("blocks-streams", blocks_streams),
    "blocks_cascade": ("blocks-cascade", blocks_cascade),
    "large_stream": ("large_stream", large_stream),
    "ahead": ("ahead", ahead),
    "images_glyphs": ("images-glyphs", images),
    "images_glyphs_gates": ("images-glyphs-gates", images),
    "images_omniglot": ("images-omniglot", images),
    "images_omniglot_linear": ("images-omniglot-linear", images),
    "images_omniglot_rest": ("images-omniglot-rest", images),
    "images_photographs": ("images-photographs", images),
    "images_emoji": ("images-emoji", images),
    "lora_compare": ("lora-compare", language_models),
    "lora_random": ("lora-random", language_models),
    "lora_continuations": ("lora-compare", continuations),
    "language_step": ("language-step", language_step),
    "language_packing": ("language-packing", language_packing),
    "language_decoding": ("language-decoding", language_decoding),
    "language_pretraining": ("language-pretraining", language_pretraining),
    "lora_ranks": ("lora-ranks", language_models),
    "lora_presets": ("lora-presets", language_models),
    "glyph_vit": ("glyph_vit", glyph_vit),
    "image_step": ("image_step", image_step),
    "image_stream": ("image_stream", image_stream),
    "segmentation_scenes": ("segmentation-scenes", segmentation),
    "segmentation_camvid": ("segmentation-camvid", segmentation),
    "segmentation_step": ("segmentation-step", segmentation_step),
    "segmentation_steps": ("segmentation-steps", segmentation_steps),
    "segmentation_step_gpu": ("segmentation-step-gpu", segmentation_step),
    "ledger": ("ledger", ledger),
    "targets_labels": ("targets-labels", targets),
    "targets_domains": ("targets-domains", targets),
    "targets_numbers": ("targets-numbers", targets),
}


def rendered(page: str) -> str:
    """The page with every block made anew from the JSON."""

    def block(match: re.Match[str]) -> str:
        file, render = RENDERERS[match[1]]
        if not (RESULTS / f"{file}.json").exists():
            return f"<!-- results: {match[1]} -->\n\nNot run yet.\n\n<!-- end -->"
        data: dict[str, object] = json.loads((RESULTS / f"{file}.json").read_text(encoding="utf-8"))
        return f"<!-- results: {match[1]} -->\n\n{render(data)}\n\n<!-- end -->"

    return re.sub(r"<!-- results: (\w+) -->.*?<!-- end -->", block, page, flags=re.DOTALL)


def main() -> None:
    stale = []
    for name in PAGES:
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = rendered(before)
        if after != before:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(after, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit(f"numbers in {', '.join(stale)} differ from benchmarks/results; run: make results")


def _mib(size: object) -> str:
    assert isinstance(size, int)
    return f"{size / 2**20:.2f}"


def _part(data: dict[str, object], key: str) -> dict[str, object]:
    part = data[key]
    assert isinstance(part, dict)
    return dict(part)


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return list(value)


def _rows(data: dict[str, object], key: str) -> list[dict[str, object]]:
    rows = data[key]
    assert isinstance(rows, list)
    return list(rows)


if __name__ == "__main__":
    main()
