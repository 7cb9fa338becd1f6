/**
 * The shop's side of a PIN page: ask one's own server for an address, mount it, wait.
 * `/session?action=` is that server's; it calls the issuer's API with credentials that stay there.
 */

const place = document.getElementById("place");
const outcome = document.getElementById("outcome");
const SAID = {
  done: "All done. Your PIN works from now on.",
  cancelled: "Nothing was changed.",
  failed: "That did not work. You can start again whenever you like.",
  unsure: "We cannot tell whether that was done. Start again to be sure.",
  timeout: "The form is slow to come. Wait for it, or start again.",
  refused: "That cannot be done now. Set a PIN first.",
};
let leaving = new AbortController();

async function start(action) {
  leaving.abort();
  leaving = new AbortController();
  place.replaceChildren();
  outcome.textContent = "";
  const answer = await fetch(`/session?${new URLSearchParams({ action })}`);
  if (!answer.ok) return void (outcome.textContent = SAID.refused);
  const { url, origin } = await answer.json();
  const { mount } = await import(`${origin}/static/pinvault.js`);
  const { signal } = leaving;
  const ended = await mount(place, { url, origin, signal, title: "Card PIN, by the card's issuer" });
  if (!signal.aborted) outcome.textContent = SAID[ended.reason] ?? SAID[ended.outcome];
}

for (const button of document.querySelectorAll("[data-action]"))
  button.addEventListener("click", () => start(button.dataset.action));
