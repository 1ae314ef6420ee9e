// The page's parts, put together.

import { begin } from "./api.js";
import * as checkpoints from "./checkpoints.js";
import * as drawer from "./drawer.js";
import { onAction } from "./items.js";
import * as key from "./key.js";
import * as live from "./live.js";
import { areActive, offer } from "./people.js";
import * as start from "./start.js";
import * as trending from "./trending.js";
import * as workbench from "./workbench.js";

key.watch(() => {
  live.retry();
  start.show();
  workbench.reload();
});
start.show();
offer();
onAction(workbench.act, drawer.open);
drawer.run();

await begin();
workbench.run();
trending.run();
checkpoints.run();
live.run((stats) => {
  start.onStats(stats);
  areActive(stats.recent_users);
  if (stats.events.total > 0) workbench.welcome();
});
