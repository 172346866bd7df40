import { customAlphabet } from "nanoid";
import "./style.css";

const id = customAlphabet("abcdefghij", 8);
document.querySelector("#greeting").textContent = `Installed by yarn; this visit is ${id()}.`;
