"""The report: the tables and pictures in one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

from training.evaluation.pictures import ERROR, IMAGE, PREDICTION, TRUTH, picture_name
from training.evaluation.table import Section
from training.files import Folder

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1400px; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { border-bottom: 1px solid #ddd; padding: .3em .8em; text-align: right; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
.row { display: flex; gap: 6px; overflow-x: auto; margin: 0 0 1em; }
figure { margin: 0; flex: none; } figure img { display: block; width: 260px; }
figcaption { font-size: 12px; color: #555; }
h3 { font-size: 13px; margin: 0; font-weight: normal; color: #555; }
"""
_LEGEND = """Truth and predictions share their colours: bright is near, grey is unknown. A prediction is shown as it is
scored, after the alignment. Errors are |ln(depth / truth)|, from 0 (dark) to 0.25 (bright), which is about 25 %."""
_LEGEND_OF_PAIRS = """Of each pair the nearer point is green and the farther red; the line is green where the network
has them in this order and red where not."""


def html_report(folder: Folder, sections: Sequence[Section], pictured: Mapping[str, Mapping[int, str]]) -> str:
    """The page.

    Args:
        folder: the evaluation's output, which holds the pictures.
        sections: of each data set.
        pictured: by data set, the index and key of the samples of which there are pictures, unless they were skipped.
    """
    body = ''.join(_section(folder, section, pictured.get(section.data, {})) for section in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Evaluation</title>'
        f'<style>{_STYLE}</style></head>\n<body><h1>Evaluation</h1>\n'
        f'<p>Means per image, then over images. ↑ more is better, ↓ less is better.</p>\n{body}</body></html>\n'
    )


def _section(folder: Folder, section: Section, samples: Mapping[int, str]) -> str:
    head, rows = section.rows()
    lines = [f'<h2>{escape(section.data)}</h2><p>Protocol {escape(section.protocol)}</p>', '<table>']
    lines.append(f'<tr>{"".join(f"<th>{escape(cell)}</th>" for cell in head)}</tr>')
    lines += [f'<tr>{"".join(f"<td>{escape(cell)}</td>" for cell in row)}</tr>' for row in rows]
    lines.append('</table>')
    lines += [f'<p><b>{escape(section.note)}</b></p>'] if section.note else []
    lines += [f'<p>{escape(verdict)}</p>' for verdict in section.verdicts()]
    models = list(section.summaries)
    pictures = [_pictures(folder, section.data, sample, models) for sample in samples.items()]
    if any(pictures):
        of_pairs = all('da2k' in summary['means'] for summary in section.summaries.values())
        lines += [f'<p>{_LEGEND_OF_PAIRS if of_pairs else _LEGEND}</p>', *pictures]
    return '\n'.join(lines) + '\n'


def _pictures(folder: Folder, data: str, sample: tuple[int, str], models: Sequence[str]) -> str:
    wanted = [(IMAGE, ''), (TRUTH, '')] + [(what, model) for model in models for what in (PREDICTION, ERROR)]
    figures = []
    for what, model in wanted:
        name = picture_name(data, sample[0], what, model)
        if folder.exists(name):
            content = base64.b64encode(folder.read(name)).decode()
            caption = escape(f'{model}: {what}' if model else what)
            figures.append(
                f'<figure><img src="data:image/jpeg;base64,{content}" alt="{caption}">'
                f'<figcaption>{caption}</figcaption></figure>'
            )
    return f'<h3>{escape(sample[1])}</h3><div class="row">{"".join(figures)}</div>' if figures else ''
