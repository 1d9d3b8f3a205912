// A thread that the core is lent.

import { Core } from "./module.js";
import { hear } from "./port.js";

hear((data) => Core.serve(data));
