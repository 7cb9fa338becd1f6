/**
 * The hosted PIN page: a cardholder sets, resets or changes a PIN, which leaves only sealed.
 *
 * Rules:
 * - A digit is in an input and, for the length of one call, in `seal`; it is never in an address,
 *   a store, the console, a message, or a body outside of the envelope.
 * - The address's fragment is read once and removed; both secrets live in this module's memory.
 * - In a frame it works under the session's own origin alone, and not where the browser does not
 *   say whose frame it is. Messages go to exactly the origin that the browser says.
 * - The time is the server's: a wrong clock on the device neither ends a session nor a seal.
 * - Texts are set as text. Nothing here makes markup, so Trusted Types have nothing to refuse.
 */

const CALL_MS = 20_000;
const SEAL_S = 120;
const SOON_S = 120;
const OAEP = { "RSA-OAEP": "SHA-1", "RSA-OAEP-256": "SHA-256" };
const SIGNS = {
  done: "done", cancelled: "none", blocked: "lock", expired: "time", offline: "gone",
};
const ENDS = ["blocked", "expired", "used", "closed"];

const root = document.documentElement;
const at = (id) => document.getElementById(id);
const fields = { current: part("current"), new: part("new"), confirm: part("confirm") };
const framed = window.parent !== window;
const host = framed ? parentOrigin() : null; // the origin that is told

const facts = JSON.parse(at("facts").textContent);
let texts = facts.catalogue;
let form = facts.form; // {action, pin_length}, where the server foretells them
let address = takeAddress();
let session = null;
let opening = null; // the promise of `open`
let jwk = null; // the promise of `sealingKey`
let state = "loading";
let inDoubt = false; // an entry was sent, and nobody said what became of it
let skew = 0;

/** The elements of one PIN's field. */
function part(name) {
  const whole = at(`${name}-field`);
  const [label, toggle] = [whole.querySelector("label"), whole.querySelector("button")];
  return { whole, label, toggle, input: at(name), error: at(`${name}-error`) };
}

/** Read the session's id and secret from the fragment, and leave none of it in the address. */
function takeAddress() {
  const found = /^#([\w-]{20,64})\.([\w-]{43})$/.exec(location.hash);
  history.replaceState(null, "", location.pathname + location.search);
  return found && { session_id: found[1], secret: found[2] };
}

// --- the server -----------------------------------------------------------------------------

/**
 * Call the server; whatever happens, give an object, with `error` when it went wrong, and `undone`
 * where the server refused: without an answer, or with one of 5xx, it may be done or not.
 *
 * No `mode`: in all but the usual one, a POST without a referrer says `Origin: null` (Fetch, "append
 * a request Origin header"), and is refused. `connect-src` and `redirect` keep it to our origin.
 */
async function call(path, body) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), CALL_MS);
  const headers = { "Content-Type": "application/json" };
  const post = { method: "POST", body: JSON.stringify(body), headers };
  let answer, found;
  try {
    answer = await fetch(path, {
      ...(body && post),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
      signal: stop.signal,
    });
    const date = Date.parse(answer.headers.get("Date"));
    if (date) skew = date - Date.now();
    found = await answer.json();
    if (answer.ok && found) return found;
  } catch { // what there is of an answer is judged below
  } finally {
    clearTimeout(timer);
  }
  const error = answer ? found?.error : "offline";
  const undone = answer?.status >= 400 && answer.status < 500;
  return { error: typeof error === "string" ? error : "unavailable", undone };
}

const now = () => (Date.now() + skew) / 1000;

const sealingKey = async () => {
  const set = await call("/jwks.json");
  const jwk = set.keys?.find((key) => key.kty === "RSA" && key.use === "enc" && OAEP[key.alg]);
  return jwk ?? { error: set.error ?? "unavailable" };
};

/** Give a PIN as a compact JWE (RFC 7516) for one card, good for two minutes. */
async function seal(pin, jwk, card) {
  const { kty, n, e, alg, kid } = jwk;
  const random = (length) => crypto.getRandomValues(new Uint8Array(length));
  const [key, iv, nonce] = [random(32), random(12), base64url(random(16))];
  const header = base64url(utf8(JSON.stringify({ alg, enc: "A256GCM", kid })));
  const content = utf8(JSON.stringify({ pin, nonce, exp: Math.floor(now()) + SEAL_S, card }));
  try {
    const { subtle } = crypto;
    const oaep = { name: "RSA-OAEP", hash: OAEP[alg] };
    const wrapping = await subtle.importKey("jwk", { kty, n, e }, oaep, false, ["encrypt"]);
    const wrapped = await subtle.encrypt(oaep, wrapping, key);
    const gcm = { name: "AES-GCM", iv, additionalData: utf8(header), tagLength: 128 };
    const sealing = await subtle.importKey("raw", key, "AES-GCM", false, ["encrypt"]);
    const sealed = new Uint8Array(await subtle.encrypt(gcm, sealing, content));
    const parts = [new Uint8Array(wrapped), iv, sealed.subarray(0, -16), sealed.subarray(-16)];
    return [header, ...parts.map(base64url)].join(".");
  } finally {
    key.fill(0);
    content.fill(0);
  }
}

const utf8 = (text) => new TextEncoder().encode(text);
const base64url = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

// --- the one who embeds ---------------------------------------------------------------------

/** The origin of the embedding page as the browser tells it, or null when it does not. */
function parentOrigin() {
  const { referrer } = document; // in older browsers: whose page sent the frame here
  const origin = location.ancestorOrigins?.[0] ?? (referrer && new URL(referrer).origin);
  return origin && origin !== "null" ? origin : null;
}

/** The bridges of a webview: iOS takes an object, Android and React Native take text. */
function bridges() {
  const { webkit, PinVault, ReactNativeWebView } = window;
  return framed ? [] : [webkit?.messageHandlers?.pinvault, PinVault, ReactNativeWebView];
}

/** Tell the embedding page, if it is known, or the app around a webview. */
function tell(type, detail) {
  const event = { source: "pinvault", version: 1, type, ...detail };
  if (framed && host) window.parent.postMessage(event, host);
  const [ios, ...others] = bridges();
  ios?.postMessage(event);
  for (const other of others) other?.postMessage(JSON.stringify(event));
}

const tellHeight = () =>
  tell("resized", { height: Math.ceil(at("page").getBoundingClientRect().height) });

// --- what is seen ---------------------------------------------------------------------------

const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

function counted(forms, n) {
  const kind = new Intl.PluralRules(texts.language).select(n);
  return filled(forms[kind] ?? forms.other, { n });
}

const ofLength = (forms, length) =>
  filled(length.minimum === length.maximum ? forms.exact : forms.range, length);

/** Set the program's tokens; what is no plain colour, length or list of fonts is passed over. */
function paint(theme) {
  const set = (name, value, form) => form.test(value) && root.style.setProperty(name, value);
  for (const scheme of ["light", "dark"])
    for (const [name, value] of Object.entries(theme[scheme] ?? {}))
      set(`--${scheme}-${name}`, value, /^#[0-9a-f]{6}$/i);
  set("--radius", theme.radius, /^\d{1,2}px$/);
  set("--font", theme.font, /^[\w ,'"-]+$/);
  at("letter").textContent = theme.letter;
  at("brand").textContent = theme.name;
}

/** Write every text of the form in the language at hand. */
function write() {
  const { action, pin_length } = form;
  root.lang = texts.language;
  root.dir = texts.direction;
  document.title = at("title-text").textContent = texts.title[action];
  at("lead").textContent = texts.lead[action];
  at("new-hint").textContent = ofLength(texts.hint, pin_length);
  at("promise").textContent = texts.promise;
  at("cancel").textContent = texts.cancel;
  at("cancel").hidden = !framed && !bridges().some(Boolean);
  fields.current.whole.hidden = action !== "change";
  fields.current.label.textContent = texts.current;
  fields.new.label.textContent = texts.new[action];
  fields.confirm.label.textContent = texts.confirm[action];
  for (const field of shown()) reveal(field, false);
  if (session) writeCard();
}

/** Say whose PIN it is: a session of somebody else's card is known by its digits. */
function writeCard() {
  const digits = document.createElement("bdi");
  digits.textContent = session.last_four;
  const [before, after] = texts.card.split("{last_four}");
  at("card").replaceChildren(before, digits, after);
  document.title += ` \u2013 ${at("card").textContent}`;
}

const shown = () => Object.values(fields).filter((field) => !field.whole.hidden);

function reveal(field, open) {
  field.input.type = open ? "text" : "password";
  field.toggle.textContent = open ? texts.hide : texts.show;
  const name = `${field.toggle.textContent}: ${field.label.textContent}`;
  field.toggle.setAttribute("aria-label", name);
}

function wipe(...some) {
  for (const { input } of some) input.value = "";
}

function fault(field, text = "") {
  if (field.error.textContent !== text) field.error.textContent = text;
  if (text) field.input.setAttribute("aria-invalid", "true");
  else field.input.removeAttribute("aria-invalid");
}

/** Show a state: the form (`ready`, `working`), its outline (`loading`) or a panel. */
function show(next) {
  state = next;
  root.dataset.state = next;
  root.lang = texts.language;
  root.dir = texts.direction;
  const working = next === "working";
  const inForm = working || next === "ready";
  const inPanel = !inForm && next !== "loading";
  at("form").hidden = at("footer").hidden = !inForm;
  at("panel").hidden = !inPanel;
  at("spoken").textContent = next === "loading" ? texts.loading : "";
  if (inForm) showForm(working);
  if (inPanel) showPanel(next);
}

function showForm(working) {
  at("form").setAttribute("aria-busy", working);
  at("submit").setAttribute("aria-disabled", working);
  at("submit-text").textContent = texts[working ? "working" : "submit"][form.action];
  if (working) at("spoken").textContent = texts.working[form.action];
  at("cancel").disabled = working;
  for (const { input, toggle } of shown()) input.readOnly = toggle.disabled = working;
}

function showPanel(name) {
  const panel = texts.panel[name];
  const [title, text] = Array.isArray(panel) ? panel : panel[form.action];
  document.title = at("panel-title").textContent = title;
  at("panel-text").textContent = text;
  at("sign").setAttribute("href", `#i-${SIGNS[name] ?? "stop"}`);
  at("again").hidden = name !== "offline" && name !== "unavailable";
  at("again").textContent = texts.again;
  // A frame takes the focus only from itself, never from the page around it.
  if (document.hasFocus()) at("panel-title").focus();
  else at("spoken").textContent = `${title}. ${text}`;
}

/** End here: forget everything, say how it ended, tell the embedding page. */
function end(next, type = "failed") {
  wipe(...Object.values(fields));
  if (session) session.page_secret = "";
  at("time").hidden = true;
  show(next);
  tell(type, type === "failed" ? { reason: next } : {});
}

// --- the time left --------------------------------------------------------------------------

function tick() {
  if (!session || !(state === "ready" || state === "working")) return;
  const left = session.expires_at - now();
  if (left <= 0 && state === "ready") return void end(inDoubt ? "unsure" : "expired");
  // The server's Date is in whole seconds, so that up to one more seems to be left.
  const text = left < 60 ? texts.last_minute : counted(texts.time, Math.ceil((left - 1) / 60));
  if (at("time").textContent === text) return;
  at("time").textContent = text;
  at("time").hidden = false;
  const soon = left <= SOON_S;
  at("time").classList.toggle("soon", soon);
  if (soon) at("spoken").textContent = text;
}

// --- the flow -------------------------------------------------------------------------------

/** Start, or start again where the connection failed before the session was open. */
function begin(again = false) {
  if (form) write();
  show(form ? "ready" : "loading");
  jwk ??= sealingKey();
  opening = open(again);
}

/** Exchange the address for a session, once, and let the form be sent. */
async function open(again) {
  const opened = await call("/pin/open", address);
  if (opened.error) return unopened(opened.error);
  session = { ...opened, session_id: address.session_id };
  address = null;
  if (framed && host !== session.origin) return end("closed");
  form = session;
  write();
  show(state === "working" ? state : "ready");
  if (state === "ready") at("spoken").textContent = at("card").textContent;
  if (again && document.hasFocus()) at("title").focus();
  tick();
  setInterval(tick, 1000);
  tell("ready");
  tellHeight();
}

/** Go on without a session: end here, or offer to try again. */
function unopened(error) {
  if (!ENDS.includes(error)) return show(error === "offline" ? error : "unavailable");
  address = null;
  end(error);
}

/** Give the first field that is wrong, its error shown; none when all can be sent. */
function firstFault() {
  const { minimum, maximum } = form.pin_length;
  for (const field of shown()) {
    const { length } = field.input.value;
    const ok = length >= minimum && length <= maximum;
    const missing = field === fields.current && !length;
    const text = missing ? texts.missing : ofLength(texts.length, form.pin_length);
    fault(field, ok || field === fields.confirm ? "" : text);
  }
  const [current, fresh, confirm] = Object.values(fields).map(({ input }) => input.value);
  if (form.action === "change" && current === fresh && fresh) fault(fields.new, texts.same);
  if (fresh !== confirm) fault(fields.confirm, texts.mismatch);
  return shown().find(({ input }) => input.hasAttribute("aria-invalid"));
}

async function submit() {
  if (state !== "ready") return;
  at("notice").textContent = "";
  const wrong = firstFault();
  if (wrong) return wrong.input.focus();
  for (const field of shown()) reveal(field, false);
  show("working");
  await opening;
  if (state === "working") judge(await send());
}

/** Seal what was entered and send it. */
async function send() {
  const key = await (jwk ??= sealingKey());
  if (key.error) {
    jwk = null;
    return { error: key.error, undone: true };
  }
  const { session_id, page_secret, card_id } = session;
  const body = { session_id, page_secret };
  try {
    body.new = await seal(fields.new.input.value, key, card_id);
    if (form.action === "change")
      body.current = await seal(fields.current.input.value, key, card_id);
  } catch {
    return { error: "unavailable", undone: true };
  }
  if (!navigator.onLine) return { error: "offline", undone: true };
  return call("/pin/submit", body);
}

/** Go on as the server answered. */
function judge({ outcome, error, tries_left, blocked, undone }) {
  if (outcome === "done") return end("done", "done");
  if (blocked || error === "blocked") return end("blocked");
  if (outcome === "wrong_current") {
    inDoubt = false;
    const text = `${texts.wrong} ${counted(texts.tries, tries_left)}`;
    return refuse(fields.current, text, fields.current);
  }
  if (error === "weak") {
    inDoubt = false;
    return refuse(fields.new, texts.weak, fields.new, fields.confirm);
  }
  if (ENDS.includes(error)) return end(inDoubt ? "unsure" : error);
  inDoubt ||= !undone;
  show("ready");
  at("submit-text").textContent = texts.again;
  at("notice").textContent = texts.unsent[error === "offline" ? "offline" : "unavailable"];
  at("submit").focus();
}

/** Back to the form: this field is wrong, those are to be entered anew. */
function refuse(field, text, ...anew) {
  wipe(...anew);
  show("ready");
  fault(field, text);
  field.input.focus();
}

// --- what the cardholder does ---------------------------------------------------------------

/** Keep digits only, as ASCII: keypads give Arabic, Persian and wide ones too, by 0 to 9. */
function digits(text) {
  const ascii = text.replace(
    /[\u0660-\u0669\u06f0-\u06f9\uff10-\uff19]/g, (digit) => digit.charCodeAt(0) & 15);
  return ascii.replace(/[^0-9]/g, "");
}

function entered({ target }) {
  const clean = digits(target.value);
  if (clean !== target.value) target.value = clean;
  const field = fields[target.id];
  fault(field);
  const [fresh, confirm] = [fields.new.input.value, fields.confirm.input.value];
  const differs = confirm.length >= fresh.length && fresh !== confirm;
  if (confirm) fault(fields.confirm, differs ? texts.mismatch : "");
}

function pasted(event) {
  const { target } = event;
  const text = digits(event.clipboardData?.getData("text") ?? "");
  event.preventDefault();
  if (target.readOnly || !text) return;
  const { selectionStart: from, selectionEnd: to } = target;
  const room = target.maxLength - target.value.length + to - from;
  target.setRangeText(text.slice(0, room), from, to, "end");
  entered(event);
}

/** Enter goes to the next field while that is empty, as the phone's key says. */
function keyed(event) {
  if (event.key !== "Enter") return;
  const all = shown();
  const next = all[all.indexOf(fields[event.target.id]) + 1];
  if (!next || next.input.value || !event.target.value) return;
  event.preventDefault();
  next.input.focus();
}

for (const field of Object.values(fields)) {
  field.input.addEventListener("input", entered);
  field.input.addEventListener("paste", pasted);
  field.input.addEventListener("keydown", keyed);
  field.toggle.addEventListener("click", () => reveal(field, field.input.type === "password"));
}
at("form").addEventListener("submit", (event) => event.preventDefault());
at("submit").addEventListener("click", (event) => {
  event.preventDefault(); // also where a frame's sandbox forbids forms
  submit();
});
at("cancel").addEventListener("click", async () => {
  await opening; // until then nobody is known who could be told
  if (state !== "ready") return;
  if (inDoubt) end("unsure");
  else end("cancelled", "cancelled");
});
at("again").addEventListener("click", () => begin(true));
window.addEventListener("online", () => state === "offline" && begin(true));
window.addEventListener("hashchange", () => location.reload()); // a new session's address
window.addEventListener("pagehide", () => wipe(...Object.values(fields)));
document.addEventListener("visibilitychange", tick);

if (framed) root.dataset.framed = "";
if (facts.theme) paint(facts.theme);
new ResizeObserver(tellHeight).observe(at("page"));
if (!crypto.subtle || (framed && !host)) unopened("closed");
else if (!address) unopened("used");
else begin();
