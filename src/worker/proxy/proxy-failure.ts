/** What goes wrong with a proxy, in sentences: which proxy (never its credentials), what it answered, and what would change it. */

import { TransferError } from '../../protocol/errors.ts';
import { excerptText } from '../../protocol/http1/excerpt.ts';
import type { ProxyPlan } from '../../protocol/proxy-options.ts';

interface Details {
  readonly status?: number;
  readonly limit?: string;
  readonly errno?: string;
  readonly cause?: unknown;
}

const AUTHENTICATION_REQUIRED = 407;

export function proxyFailed(proxy: ProxyPlan, what: string, details: Details = {}): TransferError {
  return new TransferError('PROXY_FAILED', `The proxy ${proxy.name} ${what}.`, { phase: 'proxy', ...details });
}

/** It went without an answer, or in the middle of one, as a proxy does that restarts: nothing has reached the origin. */
export function proxyLost(proxy: ProxyPlan, how: string, errno?: string): TransferError {
  const sentence = `The proxy ${proxy.name} ${how} before it had let this request through.`;
  return new TransferError('CONNECTION_LOST', sentence, { phase: 'proxy', errno });
}

/** A sentence about TLS, where TLS is with the proxy: its options are those of the proxy. */
export function optionsOfProxy(sentence: string): string {
  return sentence.replaceAll(/\btls\.(?=[a-z])/g, 'proxy.tls.');
}

/** It answered CONNECT, but not with a 2xx. `reason`: the peer's own words, or ''. */
export function connectRefused(proxy: ProxyPlan, target: string, status: number, reason: string): TransferError {
  if (status === AUTHENTICATION_REQUIRED)
    return credentialsRefused(proxy, target, status, proxy.fields.includes('\r\n'));
  const words = reason === '' ? '' : ` ${excerptText(reason)}`;
  return proxyFailed(
    proxy,
    `refused a tunnel to ${target} with status ${status}${words}; it must allow this target, or list the host in proxy.noProxy to reach it directly`,
    { status, limit: 'proxy' },
  );
}

/** `given`: some were sent, at once, so there is nothing else to try. */
export function credentialsRefused(
  proxy: ProxyPlan,
  target: string,
  status: number | undefined,
  given: boolean,
): TransferError {
  const what = given ? 'refused the credentials' : 'wants credentials';
  const hint = given ? 'check proxy.username and proxy.password' : 'give proxy.username and proxy.password';
  const answer = status === undefined ? '' : ` (${status})`;
  return proxyFailed(proxy, `${what}${answer} for a tunnel to ${target}; ${hint}`, {
    ...(status === undefined ? {} : { status }),
    limit: 'proxy.username',
  });
}
