"""The page that follows an executor: one file, nothing from elsewhere, and a policy that lets nothing else in."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

__all__ = ("CONTENT_SECURITY_POLICY", "PAGE")

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { text-align: left; padding: .2rem .5rem .2rem 0; }
progress { width: 100%; }
"""

SCRIPT = """
"use strict";
const seconds = value => value === null ? "" : value.toFixed(1) + " s";
const rows = [["workers", s => s.workers.length + " of " + s.n_jobs + " (" + s.workers.join(", ") + ")"],
  ["busy", s => s.busy], ["calls", s => s.pending + (s.max_pending === null ? "" : " of " + s.max_pending)],
  ["chunks waiting", s => s.queued], ["workers lost", s => s.lost], ["workers replaced", s => s.recycled]];
function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}
function bar(percent) {
  const made = element("progress");
  made.max = 100;
  made.value = percent;
  return made;
}
function row(job) {
  const items = job.completed + (job.total === null ? "" : " of " + job.total);
  const cells = [job.id, job.status, items, job.failed, seconds(job.elapsed), seconds(job.remaining)];
  const made = element("tr", ...cells.map(cell => element("td", String(cell))));
  made.insertBefore(element("td", bar(job.percent)), made.children[2]);
  return made;
}
function show(s) {
  document.querySelector("dl").replaceChildren(
    ...rows.flatMap(([name, of]) => [element("dt", name), element("dd", String(of(s)))]));
  document.querySelector("tbody").replaceChildren(...s.jobs.map(row));
  document.querySelector("#state").textContent = s.closed ? "closed" : s.jobs.length + " jobs";
}
async function follow() {
  try {
    const answer = await fetch("statistics");
    if (!answer.ok) throw new Error(answer.status);
    show(await answer.json());
  } catch (error) {
    document.querySelector("#state").textContent = "no answer (" + error.message + ")";
  }
  setTimeout(follow, 1000);
}
follow();
"""

PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>amorsize_async</title>
<style>{STYLE}</style>
<h1>amorsize_async</h1>
<dl></dl>
<h2 id="state"></h2>
<table>
<thead><tr><th>job<th>status<th>progress<th>items<th>failed<th>time<th>left</thead>
<tbody></tbody>
</table>
<script>{SCRIPT}</script>
"""


def _source(text: str) -> str:
    """How a policy names an inline text: by its hash."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {_source(STYLE)}; script-src {_source(SCRIPT)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
