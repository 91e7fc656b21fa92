// Keeps the page as it is now: it is read again when something happens, and every few seconds while it is looked at.
const state = document.getElementById("live");
const list = document.getElementById("events");
let waiting = null;
async function read() {
  waiting = null;
  try {
    const answer = await fetch("/", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const text = await answer.text();
    // The style around it is for another page: even to read it would be against this one's policy.
    const main = text.slice(text.indexOf("<main>"), text.indexOf("</main>") + "</main>".length);
    const page = new DOMParser().parseFromString(main, "text/html");
    document.querySelector("main").replaceWith(page.querySelector("main"));
    state.textContent = "live";
  } catch (error) {
    state.textContent = "no answer; trying again";
  }
}
function soon(wait) {
  if (waiting === null) waiting = setTimeout(read, wait);
}
const because = (reason) => (reason ? ": " + reason : "");
const say = {
  change: (e) => `version ${e.version} at ${e.node} by ${e.who}: ${e.summary}` + (e.changes > 1 ? ` and ${e.changes - 1} more` : ""),
  health: (e) => `backend ${e.pool} ${e.backend} is ${e.state}` + because(e.reason),
  member: (e) => {
    const words = [`node ${e.node} is ${e.state}`, e.role];
    if (e.state === "alive" && e.ready !== null) words.push(e.ready ? "ready" : "not ready" + because(e.not_ready_because));
    return words.filter(Boolean).join(", ");
  },
  leader: (e) => (e.leader ? `${e.leader} leads` : "nobody leads"),
  missed: () => "some events were missed",
};
function tell(event) {
  const item = document.createElement("li");
  const time = document.createElement("span");
  time.className = "soft";
  time.textContent = new Date().toTimeString().slice(0, 8) + " ";
  item.append(time, say[event.type](JSON.parse(event.data)));
  list.prepend(item);
  document.getElementById("quiet").hidden = true;
  while (list.children.length > 20) list.lastChild.remove();
  soon(300);
}
const source = new EventSource("/api/v1/events");
for (const kind of Object.keys(say)) source.addEventListener(kind, tell);
setInterval(() => { if (!document.hidden) soon(0); }, 5000);
document.getElementById("recent").hidden = false;
state.textContent = "live";
