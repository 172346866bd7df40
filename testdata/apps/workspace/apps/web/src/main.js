import { greet } from "@workspace/greet";
import "./style.css";

document.querySelector("#greeting").textContent = greet("reader");
