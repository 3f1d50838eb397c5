"""How a pipeline grows: simulates groups of requests that go round stages, and plots tokens/s against the number of groups.

Every stage takes `--group` milliseconds for a group (its weights are read once) and `--row` for each request in it, every hop `--hop`,
and the coordinator `--step` microseconds for each token. Defaults: 5 GB of weights at 200 GB/s for a stage, and what was measured of hops
and of the coordinator. Writes a table, and with `--plot` an SVG.
"""

from __future__ import annotations

import argparse
import heapq


def simulate(stages: int, requests: int, groups: int, tokens: int, given: argparse.Namespace) -> tuple[float, float]:
    """Tokens/s of all requests, and milliseconds between two tokens of one."""
    sizes = [requests // groups + (g < requests % groups) for g in range(groups)]
    sizes = [size for size in sizes if size]
    # The coordinator is the place `stages`: each place does one group at a time, first come, first served.
    free = [0.0] * (stages + 1)
    rounds = [0] * len(sizes)
    events = [(0.0, g, stages) for g in range(len(sizes))]
    heapq.heapify(events)
    last = 0.0
    while events:
        now, group, place = heapq.heappop(events)
        work = sizes[group] * given.step / 1000 if place == stages else given.group + sizes[group] * given.row
        free[place] = max(now, free[place]) + work
        last = max(last, free[place])
        if place == stages:
            rounds[group] += 1
            if rounds[group] > tokens:
                continue
        heapq.heappush(events, (free[place] + given.hop, group, 0 if place == stages else place + 1))
    return requests * tokens / last * 1000, last / tokens


def plot(points: list[tuple[int, float]], title: str) -> str:
    """An SVG of tokens/s against groups, with a mark for each power of two."""
    width, height, left, base = 560, 300, 60, 250
    most_x, most_y = max(x for x, _ in points), max(y for _, y in points)
    places = [(left + x / most_x * (width - left - 20), base - y / most_y * (base - 45)) for x, y in points]
    line = " ".join(f"{x:.0f},{y:.0f}" for x, y in places)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left}" y="20">{title}</text>',
        f'<path d="M{left},35 V{base} H{width - 10}" fill="none" stroke="gray"/>',
        f'<polyline points="{line}" fill="none" stroke="black"/>',
        *(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3"/>' for x, y in places),
    ]
    for (x, y), (px, py) in zip(points, places):
        if x & (x - 1) == 0 and x * 8 >= most_x:
            lines.append(f'<text x="{px:.0f}" y="{base + 18}" text-anchor="middle">{x}</text>')
            side = "end" if x == most_x else "start"
            lines.append(f'<text x="{px:.0f}" y="{py - 8:.0f}" text-anchor="{side}">{y:,.0f}</text>')
    lines += [
        f'<text x="{(left + width) / 2:.0f}" y="{height - 8}" text-anchor="middle">groups under way</text>',
        f'<text x="{left - 8}" y="{base}" text-anchor="end">0</text>',
        '<text x="4" y="38">tokens/s</text>',
    ]
    return "\n".join([*lines, "</svg>\n"])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in [("stages", 64), ("requests", 1000), ("tokens", 20)]:
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, number in [("group", 25.0), ("row", 0.2), ("hop", 0.2), ("step", 60.0)]:
        parser.add_argument(f"--{name}", type=float, default=number)
    parser.add_argument("--plot")
    given = parser.parse_args()
    print("| groups | requests in each | tokens/s | ms between tokens |\n|---|---|---|---|")
    points = []
    for part in (1 / 8, 1 / 4, 1 / 2, 1, 1 + 1 / given.stages, 2, 4):
        groups = max(1, round(given.stages * part))
        speed, between = simulate(given.stages, given.requests, groups, given.tokens, given)
        points.append((groups, speed))
        print(f"| {groups} | {given.requests / groups:.0f} | {speed:,.0f} | {between:,.0f} |")
    if given.plot:
        with open(given.plot, "w", encoding="utf-8") as file:
            file.write(plot(points, f"{given.stages} stages, {given.requests} requests"))


if __name__ == "__main__":
    main()
