"""Claims with fixed text, and figures with a caption that everybody can read."""

from __future__ import annotations

import io


def claim(text: str, holds) -> None:
    """State a result in words and say whether it holds here.

    The text is fixed, so the printed line is the same on every machine; digits never decide whether two
    outputs are equal.

    Raises:
        ValueError: `holds` is not a single truth value.
    """
    try:
        answer = bool(holds)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"claim({text!r}): the second argument must be one truth value; reduce it with .all() or .any()."
        ) from error
    print(f"{'holds' if answer else 'DOES NOT HOLD'}: {text}")


def show(figure, caption: str) -> None:
    """Display a figure at 90 dpi, then its caption as text, which is what a screen reader reads.

    Numbers in the caption are computed (f-strings). The caption is displayed as markdown, whose digits
    the notebook tests do not compare.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Image, Markdown, display

    caption = " ".join(caption.split())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    display(Image(buffer.getvalue(), alt=caption))
    display(Markdown(f"*{caption}*"))
