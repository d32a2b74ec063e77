"""What `mmvit new` says: what it found, what it left aside, what it decided; short and aligned."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..config.datasets import SPLITS
from ..errors import counted, first_few
from .make import Found
from .plan import Plan
from .survey import FEW, leaked, rare_classes

ROWS = 12  # classes that a table shows at most


def heading(console: Console, text: str) -> None:
    console.print(f"\n[bold]{escape(text)}[/bold]")


def line(console: Console, label: str, text: str, style: str = "") -> None:
    """Print a label in a column of its own, and a text whose further lines stay in theirs."""
    table = Table.grid(padding=(0, 2))
    table.add_column(width=13, no_wrap=True)
    table.add_column(overflow="fold", max_width=max(20, min(console.width, 110) - 15))
    table.add_row(f"  {escape(label)}", f"[{style}]{escape(text)}[/{style}]" if style else escape(text))
    console.print(table)


def found(console: Console, found: Found) -> None:
    """Print what a folder holds."""
    facts, collection = found.facts, found.collection
    things = [counted(sum(facts.pictures.values()), "picture"), counted(len(collection.classes), "class")]
    if not collection.has_maps:
        things.insert(1, counted(sum(len(picture.objects()) for picture in collection.pictures), "object"))
    heading(console, f"{found.folder.root.name}: {collection.format}, {', '.join(things)}")
    console.print(_table(found))
    size = f"{facts.size[0]} x {facts.size[1]}"
    line(console, "sizes", size if facts.same_size else f"median {size}")
    if facts.side is not None:
        line(console, "objects", f"up to {facts.most} a picture; a tenth is below {facts.side:.0f} x {facts.side:.0f} pixels")
    doubtful = list(_doubtful(found))
    if doubtful:
        heading(console, "Look at")
        for count, text in doubtful:
            line(console, f"{count:,}", text)


def _table(found: Found) -> Table:
    """Return the classes by split: objects, or for label maps the share of the pixels."""
    splits = [split for split in SPLITS if found.facts.pictures[split]]
    counts = {split: _sums(found, split) for split in splits}
    table = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    table.add_column("  " + ("share of pixels" if found.collection.has_maps else "objects"))
    for split in splits:
        table.add_column(split, justify="right")
    table.add_row("  pictures", *(f"{found.facts.pictures[split]:,}" for split in splits), style="dim")
    names = sorted(found.counted, key=lambda name: -sum(counts[split][name] for split in splits))
    shown = names if len(names) <= ROWS else [*names[: ROWS // 2], None, *names[-ROWS // 2 :]]
    for name in shown:
        if name is None:
            table.add_row(f"  [dim]{len(names) - ROWS} more classes[/dim]", *("" for _ in splits))
        else:
            table.add_row(f"  {escape(name)}", *(_figure(found, counts[split], name) for split in splits))
    return table


def _sums(found: Found, split: str) -> Counter[str]:
    sums: Counter[str] = Counter()
    for picture in found.collection.of(split):
        sums.update(picture.counts())
    return sums


def _figure(found: Found, counts: Counter[str], name: str) -> str:
    return f"{counts[name] / max(1, counts.total()):.1%}" if found.collection.has_maps else f"{counts[name]:,}"


def _doubtful(found: Found) -> Iterator[tuple[int, str]]:
    """Yield the number of what is doubtful or was left aside, and a sentence with examples."""
    for what, where in sorted(found.collection.aside.items(), key=lambda item: -len(item[1])):
        yield len(where), f"{what}, left aside: {first_few(where, 2)}"
    for what, where in found.collection.doubts.items():
        yield len(where), f"{what}: {first_few(where, 2)}"
    if crowds := sum(thing.crowd for thing in found.collection.things()):
        yield crowds, "regions of a crowd (iscrowd), which training ignores"
    if found.facts.empty and not found.collection.has_maps:
        yield found.facts.empty, "pictures without objects, which training skips"
    if found.same:
        yield (
            len(found.same),
            f"pictures twice under different names: {first_few([' = '.join(map(str, pair)) for pair in found.same], 1)}",
        )
    if across := leaked(found.collection, found.same):
        yield len(across), f"of them in several splits, so that the figures will be too good: {first_few(across[0], 2)}"
    if rare := rare_classes(found.collection, found.counted):
        of = "pictures" if found.collection.has_maps else "objects"
        listed = first_few([f"{name} ({count})" for name, count in sorted(rare, key=lambda entry: entry[1])], 6)
        yield len(rare), f"classes with fewer than {FEW} {of} in training: {listed}"


def decided(console: Console, found: Found, plan: Plan, written: str) -> None:
    """Print what was decided."""
    heading(console, "Decided")
    for label, text in found.decisions:
        line(console, label, text)
    line(console, "files", written)
    line(console, "base", f"mmvit::{plan.base}")
    if plan.weights:
        line(console, "weights", f"random: {plan.weights}. Few pictures teach them little", "yellow")
    else:
        line(console, "weights", "the authors', from ImageNet")
    if plan.light:
        line(
            console,
            "head",
            f"lighter than the recipe's, {plan.light.time}: no GPU here, and no trained weights that it would have to fit",
        )
    if plan.fine:
        line(console, "anchors", f"half of the recipe's: objects of one class are typically {plan.fine:.0f} pixels in training")
    if plan.bands:
        line(console, "bands", f"{len(plan.bands[0])} a picture, each normalised with its own mean and deviation")
    scale = plan.sizes.crop or plan.sizes.scale
    line(console, "images", f"{scale[0]} x {scale[1]}, {plan.batch} a batch ({plan.batch_reason})")
    line(
        console,
        "schedule",
        f"{counted(plan.epochs, 'epoch')} of {counted(plan.steps, 'iteration')}, warm-up {plan.warm_up}, rate {plan.lr}",
    )


def commands(console: Console, words: Sequence[str]) -> None:
    heading(console, "Next")
    for text in words:
        console.print(f"  {escape(text)}", soft_wrap=True)
