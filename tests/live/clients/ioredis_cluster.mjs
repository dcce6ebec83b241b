// SPDX-License-Identifier: Apache-2.0
/*
 * ioredis' Cluster through an interlay that is shown as one: node
 * ioredis_cluster.mjs PORT PREFIX. See common.mjs for the report, cluster.mjs for
 * the jobs.
 */
import { Cluster } from 'ioredis';
import { Report } from './common.mjs';
import { run } from './cluster.mjs';

const [port, prefix] = process.argv.slice(2);
const report = new Report();

async function client(name) {
	const c = new Cluster([{ host: '127.0.0.1', port: Number(port) }], {
		clusterRetryStrategy: null,
		shardedSubscribers: true,
		redisOptions: { maxRetriesPerRequest: 0 },
	});
	let leaving = false;
	c.on('error', (e) => report.fail(name, e));
	c.on('node error', (e) => report.fail(name, e));
	c.on('-node', () => leaving || report.fail(name, 'a node is gone'));
	await new Promise((yes) => c.once('ready', yes));
	return {
		incr: (k) => c.incr(k),
		get: (k) => c.get(k),
		set: (k, v) => c.set(k, v),
		pair: async (a, b) => (await c.multi().incr(a).incr(b).exec()).map(([e, v]) => e ?? v),
		script: (text, keys) => c.eval(text, keys.length, ...keys),
		push: (k, v) => c.rpush(k, v),
		pop: async (k) => (await c.blpop(k, 1))?.[1],
		publish: (name, text) => c.publish(name, text),
		subscribe: async (name, take) => {
			c.on('message', (_, text) => take(text));
			await c.subscribe(name);
		},
		spublish: (name, text) => c.spublish(name, text),
		ssubscribe: async (name, take) => {
			c.on('smessage', (_, text) => take(text));
			await c.ssubscribe(name);
		},
		nodes: () => c.nodes('master').length,
		end: () => {
			leaving = true;
			return c.quit();
		},
	};
}

await run(report, prefix, client);
