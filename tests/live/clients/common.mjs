// SPDX-License-Identifier: Apache-2.0
/*
 * What the programs of Node.js's clients share: jobs that run until standard
 * input ends, and the report that harness/client.py reads.
 *
 * Lines on standard output: {"ops": n} now and then; at the end the report,
 * {"errors": [text], "jobs": {name: rounds}, "facts": [[kind, key, value]]}.
 */
import { setTimeout as sleep } from 'timers/promises';

export const SECTION = 3; // ms that a holder of a lock stays inside

export class Report {
	constructor() {
		this.errors = [];
		this.jobs = {};
		this.facts = [];
		this.over = false;
		process.stdin.on('end', () => (this.over = true)).resume();
	}

	/* What no direct connection would have done; the first hundred count. */
	fail(job, what) {
		const text = what instanceof Error ? `${what.name}: ${what.message}` : what;
		if (this.errors.length < 100)
			this.errors.push(`${job}: ${text}`);
	}

	/* Whether `got` is what it has to be. */
	same(job, got, want) {
		const a = JSON.stringify(got);
		const b = JSON.stringify(want);
		if (a !== b)
			this.fail(job, `got ${a}, not ${b}`);
		return a === b;
	}

	/* What the side with authority has to hold in the end. */
	fact(kind, key, value) {
		this.facts.push([kind, key, value]);
	}

	/* Calls round(n), n = 1, 2, ..., until it is over or a round throws. */
	async job(name, round, pause = 1) {
		this.jobs[name] ??= 0;
		for (let n = 1; !this.over; n++) {
			try {
				await round(n);
			} catch (e) {
				this.fail(name, e);
				return;
			}
			this.jobs[name]++;
			await sleep(pause);
		}
	}

	/* Numbers that have to come in order: 1, 2, 3, ... */
	order(job) {
		let last = 0;
		return {
			take: (text) => {
				const n = Number(text);
				if (n !== last + 1)
					this.fail(job, `${n} came after ${last}`);
				last = n;
			},
			last: () => last,
		};
	}

	/* Waits until the last number is there. */
	async until(job, order, n) {
		for (let i = 0; i < 500 && order.last() < n; i++)
			await sleep(20);
		if (order.last() !== n)
			this.fail(job, `${order.last()} of ${n} came`);
	}

	/* All jobs, then done(), then the report. */
	async run(jobs, done) {
		const tick = setInterval(() => {
			const ops = Object.values(this.jobs).reduce((a, b) => a + b, 0);
			console.log(JSON.stringify({ ops, least: Math.min(...Object.values(this.jobs)) }));
		}, 50);
		await Promise.all(jobs);
		try {
			await done();
		} catch (e) {
			this.fail('end', e);
		}
		clearInterval(tick);
		const { errors, jobs: rounds, facts } = this;
		process.stdout.write(JSON.stringify({ errors, jobs: rounds, facts }) + '\n', () => process.exit(0));
	}
}

/* A lock of one holder at a time; who breaks it is told. */
export class Guarded {
	constructor(report, job) {
		this.report = report;
		this.job = job;
		this.inside = 0;
	}

	async section(body) {
		if (++this.inside !== 1)
			this.report.fail(this.job, `${this.inside} holders at once`);
		await body();
		await sleep(SECTION);
		this.inside--;
	}
}

export const UNLOCK =
	"if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";
export const BOTH =
	"local n = redis.call('INCR', KEYS[1]) redis.call('RPUSH', KEYS[2], n) return n";

export { sleep };
