"""The common style of every HTML page: light and dark, for paper and for telephones."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: #777; --pass: #18794e; --fail: #c62a2f; --shade: #8881; }
@media (prefers-color-scheme: dark) { :root { --dim: #999; --pass: #4cc38a; --fail: #ff6369; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; } .wide { overflow-x: auto; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top; }
th { font-weight: 600; } td { overflow-wrap: break-word; } tr.fail { background: var(--shade); }
code, pre, .mono { font: 13px/1.45 ui-monospace, monospace; } td.name { white-space: nowrap; }
pre { background: var(--shade); padding: .8rem; overflow-x: auto; }
.sign, .verdict { font-weight: 600; color: var(--pass); }
.sign.fail, .verdict.fail { color: var(--fail); }
img { max-width: 100%; border: 1px solid var(--line); } .dim { color: var(--dim); } summary { cursor: pointer; }
"""
