"""Self-marking questions whose wrong answers name the misconception."""

from __future__ import annotations


def quiz(question: str, answers: dict[str, tuple[bool, str]] | list[tuple[str, bool, str]]) -> None:
    """Show a question with one button an answer; a click says whether it is right, and why not.

    Args:
        question: one sentence.
        answers: (answer, right?, why) for each; exactly one is right, and each wrong one's `why` names
            the misconception behind it.

    Raises:
        ValueError: not exactly one right answer, fewer than two answers, or a missing explanation.

    The printed text is the same everywhere; the buttons need a running kernel. Without one (a web page, a
    printout) the folded key below the text is read instead.
    """
    rows = [(a, *v) for a, v in answers.items()] if isinstance(answers, dict) else list(answers)
    if len(rows) < 2 or sum(bool(right) for _, right, _ in rows) != 1:
        raise ValueError(f"quiz({question!r}): give at least two answers, exactly one of them right.")
    if not all(why.strip() for _, _, why in rows):
        raise ValueError(f"quiz({question!r}): every answer needs its explanation.")
    from html import escape

    import ipywidgets as widgets
    from IPython.display import HTML, display

    letters = "abcdefgh"
    print(question)
    for letter, (answer, _, _) in zip(letters, rows, strict=False):
        print(f"  {letter}) {answer}")
    says = widgets.HTML(value="<p aria-live='polite'></p>")

    def react(right, why):
        def clicked(_):
            mark = "✓ Right." if right else "✗ Not this one."
            says.value = f"<p aria-live='polite'><b>{mark}</b> {escape(why)}</p>"

        return clicked

    buttons = []
    for letter, (_, right, why) in zip(letters, rows, strict=False):
        button = widgets.Button(description=letter, layout=widgets.Layout(width="3em"))
        button.on_click(react(right, why))
        buttons.append(button)
    view = widgets.VBox([widgets.HBox(buttons), says])._repr_mimebundle_()
    display({**view, "text/plain": "(buttons, in a running notebook)"}, raw=True)
    key = "".join(
        f"<li>{letter}: {'right' if right else 'no'}. {escape(why)}</li>"
        for letter, (_, right, why) in zip(letters, rows, strict=False)
    )
    display(HTML(f"<details><summary>Answers</summary><ul>{key}</ul></details>"))
