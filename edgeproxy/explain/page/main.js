import { showReply } from "./reply.js";

const data = JSON.parse(document.getElementById("data").textContent);
showReply(document.getElementById("reply"), data);
