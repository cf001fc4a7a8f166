#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws docs/images/method.svg: the worked example of semantics.md before and after its
perturbation."""
from pathlib import Path

SCORES = [0.9, 0.8, 0.7, 0.6]
TARGETS = [0, 1, 0, 1]
LAMBDA = 4.0  # lambda 1, normalised units, n = 4


def ranks(y):
    order = sorted(range(len(y)), key=lambda i: (-y[i], TARGETS[i], i))
    return [order.index(i) + 1 for i in range(len(y))]


def slope():
    """d loss / d rank of each relevant item: rp / (P rk rk)."""
    rk, relevant = ranks(SCORES), [i for i, t in enumerate(TARGETS) if t]
    rp = {i: 1 + sum(rk[j] < rk[i] for j in relevant) for i in relevant}
    return [rp[i] / (len(relevant) * rk[i] ** 2) if i in rp else 0.0 for i in range(len(SCORES))]


def main():
    before = SCORES
    after = [y + LAMBDA * g for y, g in zip(SCORES, slope())]
    rk, rk2 = ranks(before), ranks(after)
    gradient = [-(a - b) / LAMBDA for a, b in zip(rk, rk2)]

    def y_of(score):
        return 300 - (score - 0.5) / 0.9 * 250

    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 350" font-family="sans-serif" font-size="14">',
           '<rect width="760" height="350" fill="#ffffff"/>']
    for x, title in ((150, "scores y, ranks"), (430, "perturbed y′ = y + Λ·g, ranks"), (660, "gradient −Δ/Λ")):
        out.append(f'<text x="{x}" y="26" text-anchor="middle" font-weight="bold" fill="#222">{title}</text>')
    for x in (150, 430):
        out.append(f'<line x1="{x}" y1="45" x2="{x}" y2="310" stroke="#bbb"/>')
    for i, target in enumerate(TARGETS):
        colour = "#1565c0" if target else "#b23b00"
        ya, yb = y_of(before[i]), y_of(after[i])
        out.append(f'<line x1="150" y1="{ya:.0f}" x2="430" y2="{yb:.0f}" stroke="{colour}" stroke-width="1.5" '
                   f'stroke-dasharray="{"none" if target else "4 4"}"/>')
        for x, y, score, rank in ((150, ya, before[i], rk[i]), (430, yb, after[i], rk2[i])):
            out.append(f'<circle cx="{x}" cy="{y:.0f}" r="7" fill="{colour}"/>')
            side, anchor = (-16, "end") if x == 150 else (16, "start")
            out.append(f'<text x="{x + side}" y="{y + 5:.0f}" text-anchor="{anchor}" fill="#222">{score:.2f}  (rank '
                       f'{rank})</text>')
        out.append(f'<text x="660" y="{yb + 5:.0f}" text-anchor="middle" fill="{colour}">{gradient[i]:+.2f}</text>')
    out.append('<text x="150" y="338" text-anchor="middle" fill="#1565c0">● relevant</text>')
    out.append('<text x="290" y="338" text-anchor="middle" fill="#b23b00">● irrelevant</text></svg>')
    Path(__file__).with_name("method.svg").write_text("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
