/**
 * The option `guard`: which addresses may be connected to. Its forms, and what they come to: a guard that is asked about addresses
 * once they are resolved, and answers for each. When it is asked, and what follows, is `worker/multi/`'s.
 */

import { isIP } from 'node:net';
import { notPublic } from './address-space.ts';
import { isPromise } from './built-ins.ts';
import { invalidArgument, TransferError } from './errors.ts';
import { describe } from './options.ts';

/** What a guard may want to know beside the address. */
export interface GuardTarget {
  /** The host that led to the address: of the URL, or of what stands in its place (`connectTo`). */
  readonly host: string;
  /** 0 for a unix socket. */
  readonly port: number;
  /** 4, 6; 1: a unix socket, and the address is its path. */
  readonly family: 4 | 6 | 1;
  /** Of the request that the connection is opened for; without fragment and credentials. */
  readonly url: string;
}

/**
 * false, or throwing, refuses the address; true or nothing lets it be connected to. In a pool it runs on the main thread and may
 * answer by a promise; in a `Multi` it must answer at once.
 */
// biome-ignore lint/suspicious/noConfusingVoidType: returning nothing is an answer.
export type GuardFunction = (address: string, target: GuardTarget) => boolean | void | Promise<boolean | void>;

/** `'public-only'`: only addresses that are globally reachable; see `address-space.ts`. */
export type GuardGiven = 'public-only' | GuardFunction;

/** Addresses that one connection may be opened to. */
export interface GuardQuestion {
  /** Numeric addresses; or the path of a unix socket, which may look like one. */
  readonly addresses: readonly string[];
  readonly isUnix: boolean;
  readonly host: string;
  readonly port: number;
  readonly url: string;
}

/** For each address: null, it may be connected to; or why not. */
export type GuardVerdicts = readonly (TransferError | null)[];

export interface Guard {
  /** Connections opened under one guard serve no other. */
  readonly identity: string;
  /** Calls `done` once, now or later. Throws nothing. */
  judge(question: GuardQuestion, done: (verdicts: GuardVerdicts) => void): void;
}

export const PUBLIC_ONLY = 'public-only';

const publicOnly: Guard = {
  identity: PUBLIC_ONLY,
  judge(question, done) {
    done(question.addresses.map((address) => notPublicError(address, question)));
  },
};

const functionGuards = new WeakMap<GuardFunction, Guard>();
let lastNumber = 0;

/** For a Multi. null: there is none. Throws TransferError INVALID_ARGUMENT. */
export function resolveGuard(given: unknown, option = 'guard'): Guard | null {
  if (given === undefined) return null;
  const checked = checkGuard(given, option);
  if (checked === PUBLIC_ONLY) return publicOnly;
  let guard = functionGuards.get(checked);
  if (guard === undefined) {
    guard = synchronous(checked, `function ${++lastNumber}`);
    functionGuards.set(checked, guard);
  }
  return guard;
}

/** Throws TransferError INVALID_ARGUMENT. */
export function checkGuard(given: unknown, option = 'guard'): GuardGiven {
  if (given === PUBLIC_ONLY || typeof given === 'function') return given as GuardGiven;
  throw invalidArgument(option, `${option} must be 'public-only' or a function, not ${describe(given)}.`);
}

/** A function's answer about one address; a promise is not waited for. */
export function askGuard(guard: GuardFunction, address: string, question: GuardQuestion): unknown {
  const { isUnix, host, port, url } = question;
  const family = isUnix ? 1 : (isIP(address) as 4 | 6);
  return guard(address, { host, port, family, url });
}

/** What an answer means; a throw comes as `thrown`. */
export function verdictOf(
  address: string,
  question: GuardQuestion,
  answer: unknown,
  thrown?: { error: unknown },
): TransferError | null {
  const where = shownAddress(address, question);
  if (thrown !== undefined) return refused(`The guard refused ${where}; see the cause.`, thrown.error);
  if (answer === true || answer === undefined) return null;
  if (answer === false) return refused(`The guard refused ${where}.`);
  return refused(`The guard answered ${describe(answer)} about ${where}, which is neither true nor false.`);
}

export function refused(sentence: string, cause?: unknown): TransferError {
  return new TransferError('COULDNT_CONNECT', sentence, { phase: 'connect', limit: 'guard', cause });
}

function notPublicError(address: string, question: GuardQuestion): TransferError | null {
  const what = question.isUnix ? 'a unix socket' : notPublic(address);
  return what === null
    ? null
    : refused(
        `The guard lets only public addresses be connected to, and ${shownAddress(address, question)} is none (${what}).`,
      );
}

function synchronous(guard: GuardFunction, identity: string): Guard {
  return {
    identity,
    judge(question, done) {
      done(question.addresses.map((address) => judgeNow(guard, address, question)));
    },
  };
}

function judgeNow(guard: GuardFunction, address: string, question: GuardQuestion): TransferError | null {
  try {
    const answer = askGuard(guard, address, question);
    if (isPromise(answer)) {
      // Nobody waits for it, and its rejection is of no use to anyone.
      answer.catch(() => undefined);
      return refused('The guard answered by a promise; in a Multi it must answer at once.');
    }
    return verdictOf(address, question, answer);
  } catch (error) {
    return verdictOf(address, question, undefined, { error });
  }
}

function shownAddress(address: string, { isUnix, port }: GuardQuestion): string {
  if (isUnix) return address.startsWith('\0') ? `@${address.slice(1)}` : address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
