"""Plots of Python in a reply: drawn under the code, in a frame that reaches nothing; what is missing says so."""

import pytest
from at_page import LIMIT, chat_with
from playwright.sync_api import expect

HOSTILE = "</text></svg><img src=x onerror=parent.postMessage('out','*')><script>parent.document.title='out'</script>"
PLOTS = f"""```python
import matplotlib.pyplot as plt
x = [n / 10 for n in range(60)]
plt.plot(x, [v * v for v in x], "r--", label="square")
plt.scatter(x[::10], x[::10], label={HOSTILE!r})
plt.title({HOSTILE!r}); plt.xlabel("x"); plt.ylabel("y")
plt.xlim(0, 6); plt.grid(True); plt.legend()
plt.show()
fig, ax = plt.subplots()
ax.bar(["a", "b"], [1, 2])
ax.set_title("Second")
```
"""
ABSENT = {
    "import matplotlib.pyplot as plt\nplt.semilogy([1, 2])": "has no semilogy; there are plot, scatter, bar",
    "import numpy as np\nprint(np.arange(3))": "numpy is not part of this page's Python. It has the standard library",
    "import matplotlib.pyplot as plt\nplt.plot(range(9000))": "a figure may have 8,000 points here",
    "import matplotlib.animation": "matplotlib.animation is not part of this page's Python",
}


def run(watched, address, api, text, size="desk"):
    page = watched.open(address, size, path=f"/#/chat/{chat_with(api, [text])}")
    block = page.locator(".code").first
    block.get_by_role("button", name="Run").click()
    expect(block.locator(".output-bar")).to_contain_text("Done" if text == PLOTS else "Failed", timeout=LIMIT)
    return page, block


def test_plots_are_drawn_and_their_labels_stay_words(watched, address, api, size, shot):
    page, block = run(watched, address, api, PLOTS, size)
    title = page.title()
    frames = block.locator("iframe")
    expect(frames).to_have_count(2)
    assert all(frames.nth(n).get_attribute("sandbox") == "allow-scripts" for n in range(2))
    first, second = (frames.nth(n).content_frame for n in range(2))
    expect(first.locator("svg text", has_text="</text></svg>")).to_have_count(2)
    assert first.locator("svg path").count() >= 2 and first.locator("img, svg script").count() == 0
    expect(second.locator("svg text", has_text="Second")).to_have_count(1)
    assert second.locator("svg g rect").count() == 2
    assert page.title() == title and block.locator(".output pre").inner_text().strip() == ""
    frames.first.scroll_into_view_if_needed()
    shot(page, f"plots-{size}")


@pytest.mark.parametrize("code", ABSENT, ids=lambda code: code.split("\n")[-1])
def test_what_is_not_there_says_what_is(watched, address, api, code):
    _, block = run(watched, address, api, f"```python\n{code}\n```\n")
    expect(block.locator(".output .fault")).to_contain_text(ABSENT[code])
