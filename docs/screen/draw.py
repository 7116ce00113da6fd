"""Runs a command in a terminal of its own and draws the terminal as an SVG picture while the command works.

usage: draw.py PRIVATE_PATH PICTURE COMMAND…

PRIVATE_PATH is a path of this machine that the picture shows as `demo`.
"""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from xml.sax.saxutils import escape

import pyte

ROWS, COLUMNS = 22, 80
PROMPT = "overnight demo"
CELL_WIDTH, CELL_HEIGHT = 8.4, 18
MARGIN, TITLE_BAR = 14, 30
COLORS = {
    "default": "#d6d9e0",
    "black": "#8b93a1",
    "red": "#ff6b68",
    "green": "#7ed491",
    "brown": "#e5c07b",
    "blue": "#74a8f7",
    "magenta": "#d492e8",
    "cyan": "#6fd1d7",
    "white": "#f2f4f8",
}


def start(command):
    """Starts the command in a terminal and returns its process id and the terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.environ.pop("NO_COLOR", None)
        os.execvp(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    return pid, terminal


def is_half_way(display):
    """Returns whether the progress line shows that about half of the jobs are done, and the screen is complete."""
    text = "\n".join(display)
    progress = re.search(r"(\d+)/(\d+) done", text)
    return progress and 0.5 <= int(progress[1]) / int(progress[2]) <= 0.75 and "in flight" in text and "spent" in text


def watch(command):
    """Returns the screen at half-time, once the command has ended well."""
    pid, terminal = start(command)
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    picture = None
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            break
        if not chunk:
            break
        stream.feed(chunk)
        if picture is None and is_half_way(screen.display):
            picture = [[screen.buffer[row][column] for column in range(COLUMNS)] for row in range(ROWS)]
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0 or picture is None:
        sys.exit("the command failed, or its screen never showed half of the jobs:\n" + "\n".join(screen.display))
    return picture


def color(cell):
    name = cell.fg
    return COLORS.get(name, "#" + name if re.fullmatch(r"[0-9a-f]{6}", name) else COLORS["default"])


def spans(cells, private):
    """Yields runs of cells that look alike: column, text, color, and whether it is bold."""
    column = 0
    while column < len(cells):
        end = column
        look = (color(cells[column]), cells[column].bold)
        while end < len(cells) and (color(cells[end]), cells[end].bold) == look:
            end += 1
        text = "".join(cell.data for cell in cells[column:end])
        if text.strip():
            lead = len(text) - len(text.lstrip())
            yield column + lead, text.strip().replace(private, "demo"), *look
        column = end


def draw(rows, private):
    while rows and not "".join(cell.data for cell in rows[-1]).strip():
        rows.pop()
    width = COLUMNS * CELL_WIDTH + 2 * MARGIN
    height = TITLE_BAR + (len(rows) + 1) * CELL_HEIGHT + 2 * MARGIN
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}">'
    yield "  <title>overnight demo, half of its jobs done</title>"
    yield f'  <rect width="{width:.0f}" height="{height:.0f}" rx="8" fill="#1b1e26"/>'
    for index, fill in enumerate(("#ff5f57", "#febc2e", "#28c840")):
        yield f'  <circle cx="{20 + 20 * index}" cy="18" r="6" fill="{fill}"/>'
    yield '  <g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace" font-size="14">'
    lines = [[(0, f"$ {PROMPT}", COLORS["black"], False)]]
    lines += [spans(cells, private) for cells in rows]
    for index, line in enumerate(lines):
        baseline = TITLE_BAR + MARGIN + index * CELL_HEIGHT + 13
        for column, text, fill, bold in line:
            x = MARGIN + column * CELL_WIDTH
            weight = ' font-weight="bold"' if bold else ""
            length = len(text) * CELL_WIDTH
            yield (
                f'    <text x="{x:.1f}" y="{baseline}" textLength="{length:.1f}" lengthAdjust="spacingAndGlyphs" '
                f'fill="{fill}"{weight} xml:space="preserve">{escape(text)}</text>'
            )
    yield "  </g>"
    yield "</svg>"


def main():
    private, picture, *command = sys.argv[1:]
    rows = watch(command)
    with open(picture, "w", encoding="utf-8") as file:
        file.write("\n".join(draw(rows, private)) + "\n")


main()
