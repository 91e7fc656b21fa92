// Keeps the page as it is now: it is read again when something happens, and every few seconds while it is looked at.
const state = document.getElementById("live");
const list = document.getElementById("events");
let waiting = null;
async function read() {
  waiting = null;
  try {
    const answer = await fetch("/", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(page.querySelector("main"));
    state.textContent = "live";
  } catch (error) {
    state.textContent = "no answer; trying again";
  }
}
function soon(wait) {
  if (waiting === null) waiting = setTimeout(read, wait);
}
function tell(event) {
  const item = document.createElement("li");
  const words = Object.values(JSON.parse(event.data)).filter((word) => word !== null);
  item.textContent = new Date().toLocaleTimeString() + " " + event.type + ": " + words.join(" ");
  list.prepend(item);
  while (list.children.length > 20) list.lastChild.remove();
  soon(300);
}
const source = new EventSource("/api/v1/events");
for (const kind of ["change", "health", "member", "leader"]) source.addEventListener(kind, tell);
source.addEventListener("missed", () => soon(300));
setInterval(() => { if (!document.hidden) soon(0); }, 5000);
document.getElementById("recent").hidden = false;
state.textContent = "live";
