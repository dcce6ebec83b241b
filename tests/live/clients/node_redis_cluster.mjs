// SPDX-License-Identifier: Apache-2.0
/*
 * node-redis' cluster through an interlay that is shown as one: node
 * node_redis_cluster.mjs PORT PREFIX [RESP]. See common.mjs for the report,
 * cluster.mjs for the jobs.
 */
import { createCluster } from 'redis';
import { Report } from './common.mjs';
import { run } from './cluster.mjs';

const [port, prefix, resp] = process.argv.slice(2);
const report = new Report();

async function client(name) {
	const c = createCluster({
		rootNodes: [{ url: `redis://127.0.0.1:${port}` }],
		maxCommandRedirections: 0,
		...(resp ? { RESP: Number(resp) } : {}),
	});
	for (const event of ['error', 'node-error', 'node-reconnecting'])
		c.on(event, (e) => report.fail(name, e));
	await c.connect();
	return {
		incr: (k) => c.incr(k),
		get: (k) => c.get(k),
		set: (k, v) => c.set(k, v),
		pair: (a, b) => c.multi().incr(a).incr(b).exec(),
		script: (text, keys) => c.eval(text, { keys }),
		push: (k, v) => c.rPush(k, String(v)),
		pop: async (k) => (await c.blPop(k, 1))?.element,
		publish: (name, text) => c.publish(name, String(text)),
		subscribe: (name, take) => c.subscribe(name, take),
		spublish: (name, text) => c.sPublish(name, String(text)),
		ssubscribe: (name, take) => c.sSubscribe(name, take),
		nodes: () => c.masters.length,
		end: () => c.close(),
	};
}

await run(report, prefix, client);
