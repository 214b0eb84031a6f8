/**
 * Lets the page, and the worker that the model runs in, ask nobody but those whom its address names.
 *
 * Imported before anything that could ask. The rest of the policy stands in `index.html`.
 */

const query = new URLSearchParams(location.search);
const named = ["artifact", "second"].flatMap((name) => query.get(name) ?? []);
const origins = new Set(["'self'"]);
for (const address of named) {
  const { protocol, origin } = new URL(address, location.href);
  if (origin === location.origin) continue;
  if (protocol === "http:") origins.add(origin);
  else origins.add("https:"); // a hub sends large files from other servers than it is asked at
}
const policy = document.createElement("meta");
policy.httpEquiv = "Content-Security-Policy";
policy.content = `connect-src ${[...origins].join(" ")}`;
document.head.append(policy);
