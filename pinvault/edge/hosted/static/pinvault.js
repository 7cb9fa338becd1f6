/**
 * Shows the hosted PIN page inside a page of yours, and tells how it ended.
 *
 *   import { mount } from "https://pin.example.com/static/pinvault.js";
 *   const { outcome } = await mount(element, { url, origin: "https://pin.example.com" });
 *
 * (or a plain `<script type="module" src>` and `window.pinvault.mount`).
 *
 * Rules:
 * - Only messages of this frame's window, from exactly this origin, are read.
 * - Nothing is ever sent to the frame, and nothing secret ever comes out of it.
 */

const START_MS = 30_000;
const MOST_PX = 4000;

/**
 * Put the page into `element` and give a promise of how it ended: `{outcome: "done"}`,
 * `{outcome: "cancelled"}` or `{outcome: "failed", reason}`. The reason is `blocked`, `expired`,
 * `used`, `closed`, `unsure` (it may be done or not) or `timeout`: nothing was heard of the page for
 * 30 seconds. It may come yet, and what it is for may yet be done, while the frame stays.
 *
 * - `url`: what set_pin_url said; `origin`: whose page it must be, such as https://pin.example.com.
 * - `title`: the frame's accessible name, in the language of your page.
 * - `signal`: an AbortSignal that takes the page away, as if it had been cancelled.
 * - `onEvent`: is called with every event, such as {type: "ready"}.
 *
 * The frame stays, so that its last words can be read; remove it when you go on.
 */
export function mount(element, { url, origin, title = "Card PIN", signal, onEvent }) {
  const address = new URL(url);
  if (address.origin !== origin) throw new TypeError("the address is not of that origin");

  const frame = document.createElement("iframe");
  frame.title = title;
  frame.allow = "";
  frame.referrerPolicy = "origin"; // or browsers do not tell the page who embeds it: it refuses
  frame.sandbox.add("allow-scripts", "allow-same-origin", "allow-forms");
  const { style } = frame;
  style.cssText = "display: block; width: 100%; height: 32rem; border: 0; color-scheme: normal";

  return new Promise((resolve) => {
    const finish = (outcome) => {
      clearTimeout(late);
      signal?.removeEventListener("abort", leave);
      resolve(outcome);
    };
    const leave = () => {
      window.removeEventListener("message", hear);
      frame.remove();
      finish({ outcome: "cancelled" });
    };
    const hear = ({ source, origin: from, data }) => {
      if (source !== frame.contentWindow) {
        if (!frame.isConnected) window.removeEventListener("message", hear);
        return;
      }
      if (from !== origin || data?.source !== "pinvault" || data.version !== 1) return;
      clearTimeout(late); // it is there, and says itself how it ends
      const { type, height, reason } = data;
      if (type === "resized" && height > 0 && height < MOST_PX) style.height = `${height}px`;
      onEvent?.({ type, height, reason });
      if (type === "done" || type === "cancelled") finish({ outcome: type });
      if (type === "failed") finish({ outcome: type, reason: String(reason) });
    };
    const late = setTimeout(finish, START_MS, { outcome: "failed", reason: "timeout" });
    window.addEventListener("message", hear);
    signal?.addEventListener("abort", leave);
    frame.src = address.href;
    element.append(frame);
    if (signal?.aborted) leave();
  });
}

globalThis.pinvault = Object.freeze({ mount });
