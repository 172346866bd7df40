const pages = {
  "/": { title: "Hello", body: "This site was laid as one layer over an nginx base." },
  "/about": { title: "About", body: "This page has no file: the server answers with index.html, and the script reads the path." },
};

const view = document.querySelector("#view");
let count = 0;

async function show() {
  const path = location.pathname.replace(/(.)\/$/, "$1");
  const page = pages[path] ?? { title: "Not found", body: `There is no page ${path}.` };
  document.title = `${page.title} · hello-dist`;
  view.replaceChildren(element("h1", page.title), element("p", page.body));
  for (const link of document.querySelectorAll("nav a")) {
    link.toggleAttribute("aria-current", false);
    if (link.pathname === path) link.setAttribute("aria-current", "page");
  }
  if (path !== "/") return;
  // A module of its own, so that a lazily loaded file is fetched too.
  const { greeting } = await import("./greet-6fZSypgW.js");
  const button = element("button", greeting(count));
  button.addEventListener("click", () => { button.textContent = greeting(++count); });
  view.append(button);
}

function element(name, text) {
  const node = document.createElement(name);
  node.textContent = text;
  return node;
}

document.querySelector("nav").addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  show();
});
addEventListener("popstate", show);
show();
