"""Function that makes the Markdown table of converted models: a line for each library, and one for each exception."""

from typing import Any

SURGERY = {"equal": "outputs equal", "load": "strict load", "back": "back", "fold": "fold"}
STEPS = {"compile": "compile", "onnx": "ONNX"}


def table(results: dict[str, Any]) -> str:
    """Return Markdown: the counts of each library, then the exceptions with their reasons."""
    outcomes: dict[str, dict[str, Any]] = results["models"]
    libraries = sorted({name.partition("/")[0] for name in outcomes})
    lines = [
        f"| library | models | {' | '.join([*SURGERY.values(), *STEPS.values()])} |",
        f"|---|---|{'---|' * (len(SURGERY) + len(STEPS))}",
    ]
    for library in libraries:
        mine = [outcome for name, outcome in outcomes.items() if name.startswith(f"{library}/")]
        cells = [_count(mine, "surgery", check) for check in SURGERY] + [_count(mine, step, "") for step in STEPS]
        lines.append(f"| {library} {results['versions'].get(library, '')} | {len(mine)} | {' | '.join(cells)} |")
    exceptions = [
        f"| {name} | {where} | {reason} |"
        for name, outcome in outcomes.items()
        for where, reason in _exceptions(outcome)
    ]
    versions = ", ".join(f"{name} {results['versions'][name]}" for name in ("torch", "onnxruntime"))
    tried = sum("surgery" in outcome for outcome in outcomes.values())
    text = f"With {versions}; {tried} of {results['listed']} models tried so far:\n\n" + "\n".join(lines)
    if exceptions:
        text += "\n\n| model | where | reason |\n|---|---|---|\n" + "\n".join(exceptions)
    return text


def _count(outcomes: list[dict[str, Any]], step: str, check: str) -> str:
    """Return how many models pass, of those whose plain model passes too."""
    tried = [outcome[step] for outcome in outcomes if step in outcome and "plain model" not in outcome[step]]
    passed = sum("found" in outcome and not outcome["found"][check] for outcome in tried)
    return f"{passed} of {len(tried)}" if tried else "not run"


def _exceptions(outcome: dict[str, Any]) -> list[tuple[str, str]]:
    """Return where a model fails, or where convolutions are left out, and the reasons."""
    found = []
    for step, result in outcome.items():
        title = STEPS.get(step, "conversion")
        if "plain model" in result:
            found.append((title, f"not counted, the plain model: {result['plain model']}"))
        elif "error" in result:
            found.append((title, result["error"]))
        else:
            left_out = result["found"].get("left out")
            found += [(title, f"convolutions left out: {left_out}")] if left_out else []
            names = SURGERY | {"": title}
            found += [(names[check], text) for check, text in result["found"].items() if check in names and text]
    return [(where, reason.replace("|", "\\|").replace("<", "&lt;")) for where, reason in found]
