/** What a transfer fails with when one of its clocks runs out: which clock, on what, and which option to change. */

import { TransferError } from '../../protocol/errors.ts';
import type { Origin } from '../../protocol/origin.ts';
import { detourOf, type Route } from './route.ts';
import type { NoDescriptor } from './socket-opener.ts';
import type { Transfer } from './transfer.ts';

/** The clock of the whole transfer. */
export function totalTimeout({ origin, timeouts, phase }: Transfer): TransferError {
  return new TransferError(
    'TOTAL_TIMEOUT',
    `The transfer from ${origin.text} did not complete within ${timeouts.totalMs} ms; raise timeouts.totalMs if it may take longer.`,
    { limit: 'timeouts.totalMs', phase },
  );
}

const CONNECTING = {
  dns: 'Resolving',
  connect: 'Connecting to',
  proxy: 'Being let through to',
  tls: 'The TLS handshake with',
};

/** The clock of the state that the transfer is in. */
export function phaseTimeout({ origin, route, timeouts, phase, state, dial }: Transfer): TransferError {
  switch (state) {
    case 'new':
    case 'runnable':
    case 'queued':
      return new TransferError(
        'QUEUE_TIMEOUT',
        `No connection to ${origin.text} became free within ${timeouts.queueMs} ms; raise connections.perOrigin or timeouts.queueMs.`,
        { limit: 'timeouts.queueMs', phase },
      );
    case 'dialing':
      if (dial !== null && dial.shortage !== null) return noDescriptor(origin, dial.shortage, timeouts.connectMs);
      return new TransferError(
        'CONNECT_TIMEOUT',
        `${CONNECTING[phase as keyof typeof CONNECTING]} ${origin.text}${detourOf(route)} took longer than ${timeouts.connectMs} ms; check the address${isAsking(phase, route) ? ', and that tls.checkServerIdentity answers,' : ''} or raise timeouts.connectMs.`,
        { limit: 'timeouts.connectMs', phase },
      );
    case 'sending':
    case 'waiting':
      return new TransferError(
        'HEAD_TIMEOUT',
        `${origin.text} ${state === 'sending' ? 'stopped taking the request' : 'sent no complete response head'} for ${timeouts.headMs} ms; raise timeouts.headMs if it needs longer.`,
        { limit: 'timeouts.headMs', phase },
      );
    case 'body':
    case 'done':
      return new TransferError(
        'BODY_TIMEOUT',
        `${origin.text} sent no body bytes for ${timeouts.bodyIdleMs} ms; raise timeouts.bodyIdleMs if pauses are expected.`,
        { limit: 'timeouts.bodyIdleMs', phase },
      );
  }
}

/** Whether the application's function may be what was waited for. */
function isAsking(phase: Transfer['phase'], { tls }: Route): boolean {
  return phase === 'tls' && tls !== null && tls.checkServerIdentity !== null;
}

/** It waited for a descriptor until its clock ran out: more time is not what it lacks. */
function noDescriptor(origin: Origin, { errno }: NoDescriptor, connectMs: number): TransferError {
  const whose = errno === 'EMFILE' ? 'this process (ulimit -n)' : 'this machine (fs.file-max)';
  return new TransferError(
    'COULDNT_CONNECT',
    `No descriptor for a connection to ${origin.text} came free within ${connectMs} ms (${errno}); raise the limit of ${whose}, or open fewer connections.`,
    { phase: 'connect', errno, limit: 'timeouts.connectMs' },
  );
}
