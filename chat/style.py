"""How the page looks: a theme without web fonts, one style sheet for light and dark, narrow and wide."""

from __future__ import annotations

import gradio as gr

FONT = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONO = ("ui-monospace", "SF Mono", "Cascadia Mono", "Menlo", "DejaVu Sans Mono", "monospace")

HEAD = (
    '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="same-origin">'
)

CSS = """
:root {
  --paper: #fbfaf8; --panel: #f4f2ee; --raise: #ffffff; --ink: #22211f; --soft: #6f6c66; --line: #e4e1db;
  --own: #eeebe5; --accent: #2b6a5b; --on-accent: #ffffff; --glow: #2b6a5b22;
}
.dark {
  --paper: #191918; --panel: #131312; --raise: #222220; --ink: #e9e7e2; --soft: #9b978f; --line: #34332f;
  --own: #2b2a27; --accent: #7cc4ae; --on-accent: #10201b; --glow: #7cc4ae22;
}
.gradio-container { background: var(--paper) !important; color: var(--ink); }
.gradio-container { max-width: none !important; padding: 0 !important; }
.gradio-container > main, .gradio-container .main { padding: 0 !important; max-width: none !important; }
#house { gap: 0; height: 100dvh; flex-wrap: nowrap; align-items: stretch; }

#side {
  flex: 0 0 264px !important; min-width: 0 !important; width: 264px; height: 100dvh; padding: 18px 12px; gap: 10px;
  background: var(--panel); border-right: 1px solid var(--line); overflow: hidden auto; flex-wrap: nowrap;
}
#brand { padding: 2px 10px 8px; border: 0; background: none; flex: none; }
#brand .prose { font-size: 18px; font-weight: 650; letter-spacing: -.015em; line-height: 1.3; }
#brand small { display: block; font-weight: 400; font-size: 12.5px; color: var(--soft); letter-spacing: 0; }
#new-chat {
  justify-content: flex-start; background: var(--raise); border: 1px solid var(--line); color: var(--ink);
  border-radius: 10px; font-weight: 500; font-size: 14px; box-shadow: none; min-height: 38px; flex: none;
}
#new-chat:hover { border-color: var(--soft); }
#side .form { border: 0; background: none; box-shadow: none; overflow: visible; }
#talks { border: 0; padding: 0; background: none; min-width: 0; overflow: visible !important; }
#talks .wrap { flex-direction: column; flex-wrap: nowrap; gap: 1px; }
#talks label {
  width: 100%; padding: 7px 10px; border: 0; border-radius: 8px; background: none; box-shadow: none;
  font-size: 14px; font-weight: 400; color: var(--ink); cursor: pointer;
}
#talks label input { position: absolute; opacity: 0; }
#talks label span { margin: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
#talks label:hover { background: var(--own); }
#talks label.selected { background: var(--own); font-weight: 500; }
#talks label:focus-within { outline: 2px solid var(--accent); outline-offset: -2px; }
#talks > span { padding: 10px 10px 4px; font-size: 12px; color: var(--soft); }
#talks:not(:has(label)) { display: none; }
#consent { margin-top: auto; padding: 10px; border: 0; background: none; font-size: 12px; color: var(--soft); }

#main { min-width: 0 !important; height: 100dvh; gap: 0; flex-wrap: nowrap; align-items: center; }
#main > * { width: 100%; max-width: 800px; flex: none !important; }
#menu, #scrim { display: none; }
#main > :not(#scrim) { isolation: isolate; } /* no label of Gradio's lies over the list when that lies over the page */
#main > #chat {
  flex: 1 1 0 !important; height: auto !important; min-height: 0; border: 0; background: none; box-shadow: none;
  overflow: hidden !important;
}
#chat .bubble-wrap { background: none; padding: 28px 20px 8px; }
#chat .message-row { max-width: 100%; margin: 0 0 6px; padding: 0; }
#chat .message, #chat .message * { opacity: 1; }
#chat .message { border: 0; box-shadow: none; background: none; }
#chat .prose { font-size: 16px; line-height: 1.65; color: var(--ink); }
#chat .bot-row .message { padding: 0; width: 100%; max-width: 100%; }
#chat .user-row { margin: 18px 0 2px; }
#chat .user-row .user.message { background: var(--own); border-radius: 18px; padding: 8px 16px; }
#chat .user-row .message .message { padding: 0; }
#chat .user-row .prose p { white-space: pre-wrap; }
#chat .prose i, #pair .prose i { display: none; } /* of a message's own marks what is not shown: chat/markup.py */
#chat .message-buttons { margin: 0 0 4px; opacity: .8; }
#chat .message-buttons .icon-button-wrapper { border: 0; background: none; padding: 0; gap: 2px; box-shadow: none; }
#chat .message-buttons .icon-button { border: 0; border-radius: 8px; background: none; }
#chat .message-buttons .icon-button:hover { background: var(--own); }
#chat [aria-label^=Like] { order: 1; }
#chat [aria-label^=Dislike] { order: 2; }
#chat .message-buttons-left { margin-left: -2px; padding-left: 0; }
#chat .message-buttons-left .icon-button-wrapper { margin-left: 0; }
#chat .message-buttons-right .icon-button-wrapper { margin-right: 0; }
#chat .message-buttons *::after, #chat .message-buttons *::before { display: none; }
#chat .top-panel { display: none; }
/* What opens the panel: the menu of Gradio's further feedback, laid open as it has one entry. */
#chat .extra-feedback > button { display: none; }
#chat .extra-feedback { order: 3; }
#chat .extra-feedback-options {
  display: flex; position: static; padding: 0; border: 0; background: none; box-shadow: none;
}
#chat .extra-feedback-option {
  border: 0; border-radius: 8px; background: none; padding: 2px 8px; font-size: 12.5px; font-weight: 400 !important;
  color: var(--soft); margin: 0; min-height: 0;
}
#chat .extra-feedback-option:hover { background: var(--own); color: var(--accent); }
/* An answer that is being written, or that never came, cannot be rated; nor can another turn be begun meanwhile. */
#main:has(#box .stop-button) #chat .message-wrap > .message-buttons-left:last-of-type,
#main:has(#box .stop-button) #chat [aria-label=Edit],
#chat .bot-row:has(.unanswered) + .message-buttons :is([aria-label*=ike], [aria-label*=Copy], .extra-feedback) {
  display: none;
}
#chat .example { border: 1px solid var(--line); border-radius: 14px; background: var(--raise); }
#chat .example:hover { border-color: var(--accent); }
#chat .placeholder-content { text-align: center; }
#chat .placeholder-content h2 { font-size: 25px; font-weight: 600; letter-spacing: -.02em; margin-bottom: 6px; }
#chat .placeholder-content p { color: var(--soft); font-size: 15px; }

#pair { padding: 4px 20px 0; gap: 12px; align-items: stretch; overflow-y: auto; }
#pair .half {
  background: var(--raise); border: 1px solid var(--line); border-radius: 14px; padding: 12px 16px 14px; gap: 4px;
  min-width: 0 !important; flex: 1 1 0 !important;
}
#pair .half .tag .prose { font-size: 12px; color: var(--soft); font-weight: 500; }
#pair .half .prose { font-size: 15.5px; line-height: 1.6; }
#verdict { padding: 10px 20px 4px; gap: 8px; }
#verdict button, #details button {
  border-radius: 999px; font-size: 14px; font-weight: 500; min-height: 38px; padding: 4px 14px; box-shadow: none;
  background: var(--raise); border: 1px solid var(--line); color: var(--ink); min-width: 0 !important; flex: 1 1 auto;
}
#verdict button:hover, #details button:hover { border-color: var(--accent); color: var(--accent); }

/* A pair stands where the answer would: under the question, not at the foot of the page. */
#main:has(#pair) > #chat { flex: 0 100 auto !important; min-height: 96px; }
#main:has(#pair) #chat .bubble-wrap { padding-bottom: 0; }
#main > #pair { flex: 0 1 auto !important; min-height: 0; }
#main:has(#pair) > #status { margin-top: auto; }

#details {
  margin: 2px 20px 12px; width: calc(100% - 40px); max-width: 760px; padding: 14px 16px; gap: 10px; overflow: visible;
  background: var(--raise); border: 1px solid var(--line); border-radius: 14px;
}
#details .block, #details .form { border: 0; padding: 0; background: none; box-shadow: none; overflow: visible; }
#details textarea, #details input[type=text] {
  background: var(--paper); border: 1px solid var(--line); border-radius: 9px; font-size: 14.5px; box-shadow: none;
}
#reasons .wrap { gap: 6px; }
#reasons label {
  border: 1px solid var(--line); border-radius: 999px; padding: 4px 12px; background: var(--paper); box-shadow: none;
  font-size: 13.5px; font-weight: 400; color: var(--ink);
}
#reasons label input { position: absolute; opacity: 0; }
#reasons label span { margin: 0; }
#reasons label.selected { border-color: var(--accent); color: var(--accent); background: var(--glow); }
#reasons label:focus-within { outline: 2px solid var(--accent); outline-offset: 1px; }
#details span[data-testid=block-info] { font-size: 13.5px; font-weight: 500; color: var(--ink); margin-bottom: 6px; }
#details .form { gap: 12px; }
#about .prose { font-size: 13px; color: var(--soft); overflow-wrap: anywhere; }
#panel-buttons { justify-content: flex-end; gap: 8px; }
#panel-buttons button { flex: none !important; width: auto; }

#status { padding: 4px 20px 8px; min-height: 32px; border: 0; background: none; }
#status .prose { font-size: 13px; line-height: 1.5; color: var(--soft); }
#status .plain { color: var(--soft); }
#status .thanks { color: var(--accent); }

#composer { padding: 0 20px; gap: 0; }
#box { border: 0; padding: 0; background: none; box-shadow: none; }
#box .input-container {
  background: var(--raise); border: 1px solid var(--line); border-radius: 20px; padding: 7px 8px 7px 16px;
  box-shadow: 0 1px 3px #0000000a; align-items: flex-end;
}
#box .input-container:focus-within { border-color: var(--accent); box-shadow: 0 0 0 3px var(--glow); }
#box textarea { background: none; border: 0; box-shadow: none; font-size: 16px; line-height: 1.5; padding: 5px 0; }
#box .submit-button, #box .stop-button {
  background: var(--accent); color: var(--on-accent); border: 0; border-radius: 50%; width: 34px; height: 34px;
  margin-left: 8px; flex: none;
}
#under { padding: 6px 20px 14px; gap: 8px; align-items: center; justify-content: space-between; }
#two {
  background: none; border: 0; box-shadow: none; color: var(--soft); font-size: 13px; font-weight: 400;
  padding: 2px 8px; min-width: 0 !important; flex: none; border-radius: 8px; min-height: 30px;
}
#two:hover { color: var(--accent); background: var(--glow); }
#note { border: 0; background: none; flex: 1; }
#note .prose { font-size: 12.5px; color: var(--soft); text-align: right; }
#house .html-container { padding: 0 !important; }
footer { display: none !important; }

@media (max-width: 760px) {
  #side {
    position: fixed; z-index: 30; inset: 0 auto 0 0; transform: translateX(-102%); transition: transform .18s ease;
  }
  #house.side-open #side { transform: none; box-shadow: 0 0 40px #0006; }
  #menu {
    display: inline-flex; align-self: flex-start; width: auto; margin: 8px 0 0 10px; background: none; border: 0;
    box-shadow: none; color: var(--ink); font-size: 15px; font-weight: 600; min-height: 40px; padding: 0 12px;
  }
  #house.side-open #scrim {
    display: block; position: fixed; z-index: 20; inset: 0; max-width: none; background: #0004; color: transparent;
    border: 0; border-radius: 0;
  }
  #chat .bubble-wrap { padding: 10px 14px 4px; }
  #pair, #verdict, #status, #composer, #under { padding-left: 14px; padding-right: 14px; }
  #details { margin-left: 14px; margin-right: 14px; width: calc(100% - 28px); max-height: 48dvh; overflow-y: auto; }
  #pair { flex-direction: column; flex-wrap: nowrap; }
  #pair .half { flex: none !important; width: 100%; }
  #verdict { flex-wrap: wrap; }
  #verdict button { flex: 1 1 40%; }
  #note { display: none; }
}
@media (prefers-reduced-motion: reduce) { * { transition: none !important; animation: none !important; } }
"""


def theme() -> gr.themes.Base:
    """Quiet neutrals and one accent; fonts of the reader's own machine."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        font=FONT,
        font_mono=MONO,
        radius_size=gr.themes.sizes.radius_md,
    ).set(
        body_background_fill="var(--paper)",
        body_background_fill_dark="var(--paper)",
        body_text_color="var(--ink)",
        body_text_color_dark="var(--ink)",
        color_accent="var(--accent)",
        border_color_primary="var(--line)",
        border_color_primary_dark="var(--line)",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
    )
