"""What the browser does by itself: which conversation is open, drafts, and the list on a narrow page.

Drafts are the browser's own until they are sent or kept: they outlive a reload and a restart of the server, and no
server sees them. The open conversation is the tab's, drafts are shared by the tabs of a browser.
"""

from __future__ import annotations

from chat.markup import PLAIN

# What is copied, edited and read aloud is what was written, not the markup that it is shown by (`chat/markup.py`).
# Where there is no clipboard to write to (http beyond loopback) Gradio copies from a box of its own at the page's top.
SCRIPT = f"""<script>(() => {{
  const plain = {PLAIN};
  const clipboard = navigator.clipboard;
  if (clipboard) {{
    const write = clipboard.writeText.bind(clipboard);
    clipboard.writeText = (text) => write(plain(text));
  }}
  document.addEventListener('copy', (event) => {{
    if (!event.target.matches?.('body > textarea')) return;
    event.clipboardData.setData('text/plain', plain(event.target.value));
    event.preventDefault();
  }});
  new MutationObserver(() => {{
    for (const box of document.querySelectorAll('#chat .edit-textarea:not([data-plain])')) {{
      box.dataset.plain = '';
      box.value = plain(box.value);
      box.dispatchEvent(new Event('input', {{ bubbles: true }}));
    }}
    for (const said of document.querySelectorAll('#chat :is([data-testid=user], [data-testid=bot])[aria-label]')) {{
      if (said.getAttribute('aria-label') === said.dataset.label) continue;
      said.dataset.label = plain(said.getAttribute('aria-label'));
      said.setAttribute('aria-label', said.dataset.label);
    }}
  }}).observe(document, {{ childList: true, subtree: true, attributes: true, attributeFilter: ['aria-label'] }});
}})()</script>"""

# The conversation list lies over a narrow page: the button opens it, any choice in it closes it.
TOGGLE_SIDE = "() => { document.getElementById('house').classList.toggle('side-open') }"
CLOSE_SIDE = "() => { document.getElementById('house').classList.remove('side-open') }"

# The conversation that is open is known here and nowhere else: a component's value may be one that another event is
# about to change. Events that need it get it by `HERE`, in the place of their last input but one.

# seen -> bell. Ring: there may be something new to draw.
RING = """(seen) => {
  sessionStorage.setItem('ratchet-at', window.ratchetAt ?? '');
  if (seen === 'redraw') window.ratchetRedraw = true;
  return [`${performance.now()}-${Math.random()}`];
}"""

# at, made, seen -> the same, before a look. One look at a time: two that began together would each send what has
# changed since the same moment, and what the first one drew the second would take for not there. Whoever waited looks
# at what is open by then. A look that gets no answer is given up after ten seconds.
LOOK = """async (at, made, seen) => {
  const busy = () => window.ratchetLooks && Date.now() - window.ratchetLooks < 10000;
  while (busy()) await new Promise((go) => setTimeout(go, 10));
  window.ratchetLooks = Date.now();
  const redraw = window.ratchetRedraw;
  window.ratchetRedraw = false;
  return [window.ratchetAt ?? at, made, redraw ? 'redraw' : window.ratchetSeen ?? seen];
}"""
# seen, talks -> talks. The look was drawn; the list marks what is open, whatever was clicked meanwhile.
LOOKED = """(seen, marked) => {
  if (seen !== 'redraw') window.ratchetSeen = seen;
  window.ratchetLooks = 0;
  const open = window.ratchetAt || null;
  return [(marked || null) === open ? { __type__: 'update' } : open];
}"""

# at -> at. What was open in this tab before it was loaded anew; null in a new tab.
RECALL = "(at) => [sessionStorage.getItem('ratchet-at')]"
# at -> . What the server opened for a page that was loaded, unless the person was faster.
BEGIN = "(at) => { window.ratchetAt ??= at ?? ''; return [] }"

# talks ->
OPEN = "(id) => { window.ratchetAt = id ?? ''; return [] }"
# -> talks
NEW = "() => { window.ratchetAt = ''; return [null] }"
# ..., at, made -> the same, with the conversation that is open now.
HERE = """(...given) => {
  const open = window.ratchetAt ?? sessionStorage.getItem('ratchet-at') ?? '';
  return [...given.slice(0, -2), open, given.at(-1)];
}"""
# at -> at
HERE_ALONE = "() => [window.ratchetAt ?? '']"

# box, sent, made -> box. After a message was taken: out of the box goes what was sent, and not what was typed since; a
# conversation begun with it is opened, unless another one was opened meanwhile.
TAKEN = """(box, sent, made) => {
  if (sent && made && made !== window.ratchetMade && !window.ratchetAt) window.ratchetAt = made;
  if (sent) window.ratchetMade = made;
  return [sent && (box ?? '').startsWith(sent) ? box.slice(sent.length) : box];
}"""

# box -> box. Until the draft was read, an empty box is not one.
RECALL_DRAFT = """(box) => {
  window.ratchetDrafts = true;
  return [box || localStorage.getItem('ratchet-draft') || ''];
}"""
# box ->
KEEP_DRAFT = """(box) => {
  if (window.ratchetDrafts) localStorage.setItem('ratchet-draft', box ?? '');
  return [];
}"""

# rated, comment, correction -> . Words about an answer that were typed and not kept; those of fifty answers at most.
# What the server puts into the boxes is not typed: the person is not in one of them then.
KEEP_WORDS = """(id, comment, correction) => {
  if (!id || !document.activeElement?.closest('#comment, #correction')) return [];
  const all = JSON.parse(localStorage.getItem('ratchet-words') || '{}');
  delete all[id];
  all[id] = [comment, correction];
  for (const old of Object.keys(all).slice(0, -50)) delete all[old];
  localStorage.setItem('ratchet-words', JSON.stringify(all));
  return [];
}"""
# rated, comment, correction -> comment, correction, details. The panel appears when the words are in it, never before.
RECALL_WORDS = """(id, comment, correction) => [
  ...(JSON.parse(localStorage.getItem('ratchet-words') || '{}')[id] ?? [comment, correction]),
  { __type__: 'update', visible: !!id },
]"""
# kept -> . The store has them now.
DROP_WORDS = """(id) => {
  const all = JSON.parse(localStorage.getItem('ratchet-words') || '{}');
  delete all[id];
  localStorage.setItem('ratchet-words', JSON.stringify(all));
  return [];
}"""
