// Sends product events with the real clients for Node: node send.mjs URL KEY < calls
//
// A call is a line of JSON, {"client", "kind", "message"}. When there are no more lines, and each call has been
// answered or given up, the number of calls and why some were given up is printed as JSON.

import { createInterface } from "node:readline";
import RudderAnalytics from "@rudderstack/rudder-sdk-node";
import { Analytics as SegmentAnalytics } from "@segment/analytics-node";
import OldSegmentAnalytics from "analytics-node";

const [host, key] = process.argv.slice(2);
const often = { flushAt: 7, flushInterval: 50 };
// As many tries as a worker needs that is killed and started again; their own are for seconds, or for hours.
const stubborn = { retryCount: 200, axiosRetryConfig: { retryDelay: () => 100 }, errorHandler: () => {} };
const clients = {
  segment: new SegmentAnalytics({ writeKey: key, host, maxRetries: 50, ...often }),
  rudder: new RudderAnalytics(key, { dataPlaneUrl: host, logLevel: "none", ...often, ...stubborn }),
  old: new OldSegmentAnalytics(key, { host, ...often, ...stubborn }),
};

let calls = 0;
let open = 0;
const givenUp = [];

for await (const line of createInterface({ input: process.stdin })) {
  const { client, kind, message } = JSON.parse(line);
  calls += 1;
  open += 1;
  clients[client][kind](message, (error) => {
    open -= 1;
    if (error) givenUp.push(`${client} ${kind}: ${error.reason ?? error}`);
  });
}
while (open > 0) {
  // Segment's flushes by itself; these two leave what is no full batch until they are asked.
  await Promise.all([clients.rudder.flush(), clients.old.flush()]);
  await new Promise((resolve) => setTimeout(resolve, 50));
}
console.log(JSON.stringify({ calls, givenUp }));
