"""How a model card looks."""

STYLE = """
:root{--page:#f9f9f7;--card:#fcfcfb;--ink:#0b0b0b;--soft:#52514e;--line:#e1e0d9;--one:#2a78d6;--two:#eb6834;
--three:#1baf7a;--four:#4a3aa7;--other:#898781}
@media(prefers-color-scheme:dark){:root{--page:#0d0d0d;--card:#1a1a19;--ink:#fff;--soft:#c3c2b7;--line:#2c2c2a;
--one:#3987e5;--two:#d95926;--three:#199e70;--four:#9085e9;--other:#898781}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;
overflow-wrap:anywhere}
main{max-width:46rem;margin:0 auto;padding:1rem}
header p,figcaption,dt,th{color:var(--soft)}
h1{font-size:1.5rem;margin:.5rem 0 0}h2{font-size:1.1rem;margin:0 0 .75rem}h3{font-size:1rem;margin:1rem 0 .25rem}
p{margin:.25rem 0 .75rem}
section{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:1rem;margin:1rem 0}
.tag{font-size:.8rem;font-weight:600;
border:1px solid var(--one);color:var(--one);border-radius:1rem;padding:.1rem .6rem;
margin-left:.6rem;vertical-align:middle}
figure{margin:0 0 1.25rem;max-width:34rem}
figcaption{font-size:.85rem}
svg{width:100%;height:auto;display:block}
svg text{font:11px system-ui,-apple-system,"Segoe UI",sans-serif;fill:var(--soft)}svg .name{fill:var(--ink)}
.grid{stroke:var(--line)}.equal{stroke:var(--other);stroke-dasharray:4 3}
.bar{stroke-width:2;stroke-linecap:round}.bar.one{stroke:var(--one)}.bar.other{stroke:var(--other)}
.dot{stroke:var(--card);stroke-width:1.5}.dot.one{fill:var(--one)}.dot.other{fill:var(--other)}
.point{fill:var(--one);fill-opacity:.55}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.s0{stroke:var(--one)}.s1{stroke:var(--two)}
.s2{stroke:var(--three)}.s3{stroke:var(--four)}
.wide{overflow-x:auto;margin:.5rem 0}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;overflow-wrap:normal}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);
white-space:nowrap}
dl{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.2rem 1rem;margin:.5rem 0;font-size:.95rem}
dd{margin:0}
pre{overflow-x:auto;font-size:.85rem;background:var(--page);padding:.6rem;border-radius:6px}
@media(max-width:30rem){main{padding:.5rem}section{padding:.75rem}dl{display:block}dd{margin:0 0 .4rem}}
"""
