/** Handlers of undici's two shapes that note what they are told, as text, so that one expectation serves both. */

import type { DispatchController, DispatchHandler } from 'shardfetch';
import { deferred } from '../wire/raw-peer.ts';

export interface Recorder {
  readonly handler: DispatchHandler;
  readonly events: string[];
  /** Settles at the end, whichever. */
  readonly over: Promise<void>;
  /** What the test does to the transfer. */
  abort(reason?: Error): void;
  resume(): void;
  /** Called with each event; answering 'pause' pauses, where the shape can. */
  onEvent: (event: string) => 'pause' | undefined;
  /** The socket of an upgrade, once there. */
  socket: import('node:stream').Duplex | null;
  error: (Error & { code?: string }) | null;
}

function recorder(): Omit<Recorder, 'handler'> & { note(event: string): 'pause' | undefined; end(): void } {
  const { promise, resolve } = deferred();
  const events: string[] = [];
  return {
    events,
    over: promise,
    end: resolve,
    abort: () => undefined,
    resume: () => undefined,
    onEvent: () => undefined,
    socket: null,
    error: null,
    note(event: string): 'pause' | undefined {
      events.push(event);
      return this.onEvent(event);
    },
  };
}

function shown(raw: readonly Buffer[]): string {
  if (raw.some((text) => !Buffer.isBuffer(text))) throw new Error('raw headers must be Buffers');
  const texts = raw.map((text) => text.toString('latin1'));
  return texts.map((text, index) => (index % 2 === 0 ? `${text}=` : `${text};`)).join('');
}

/** Of undici 6, and of 7 as far as it takes it. */
export function oldRecorder(): Recorder {
  const self = recorder() as Recorder & ReturnType<typeof recorder>;
  const handler: DispatchHandler = {
    onConnect(abort) {
      self.abort = abort;
      self.note('start');
    },
    onHeaders(status, headers, resume, statusText) {
      self.resume = resume;
      return self.note(`head ${status} ${statusText} ${shown(headers)}`) !== 'pause';
    },
    onData(chunk) {
      if (!Buffer.isBuffer(chunk)) throw new Error('a chunk must be a Buffer');
      return self.note(`data ${chunk.toString('latin1')}`) !== 'pause';
    },
    onComplete(trailers) {
      self.note(`end ${shown(trailers)}`);
      self.end();
    },
    onError(error) {
      self.error = error;
      self.note(`error ${(error as { code?: string }).code}`);
      self.end();
    },
    onUpgrade(status, headers, socket) {
      self.socket = socket;
      self.note(`upgrade ${status} ${shown(headers)}`);
      self.end();
    },
    onBodySent(chunk) {
      self.note(`sent ${Buffer.from(chunk).toString('latin1')}`);
    },
    onRequestSent() {
      self.note('all sent');
    },
  };
  return Object.assign(self, { handler });
}

/** Of undici 7 and 8. */
export function newRecorder(): Recorder {
  const self = recorder() as Recorder & ReturnType<typeof recorder>;
  const pauseWhere = (controller: DispatchController, answer: 'pause' | undefined): void => {
    if (answer === 'pause') controller.pause();
  };
  const handler: DispatchHandler = {
    onRequestStart(controller) {
      self.abort = (reason) => controller.abort(reason);
      self.resume = () => controller.resume();
      self.note('start');
    },
    onResponseStart(controller, status, headers, statusText) {
      const raw = controller.rawHeaders as Buffer[];
      for (const name of Object.keys(headers)) if (name !== name.toLowerCase()) throw new Error(`name ${name}`);
      if (Object.values(headers).flat().length !== raw.length / 2) throw new Error('raw and parsed headers differ');
      pauseWhere(controller, self.note(`head ${status} ${statusText} ${shown(raw)}`));
    },
    onResponseData(controller, chunk) {
      if (!Buffer.isBuffer(chunk)) throw new Error('a chunk must be a Buffer');
      pauseWhere(controller, self.note(`data ${chunk.toString('latin1')}`));
    },
    onResponseEnd(controller, trailers) {
      const raw = controller.rawTrailers as Buffer[];
      if (Object.keys(trailers).length !== raw.length / 2) throw new Error('raw and parsed trailers differ');
      self.note(`end ${shown(raw)}`);
      self.end();
    },
    onResponseError(_controller, error) {
      self.error = error;
      self.note(`error ${(error as { code?: string }).code}`);
      self.end();
    },
    onRequestUpgrade(controller, status, _headers, socket) {
      self.socket = socket;
      self.note(`upgrade ${status} ${shown(controller.rawHeaders as Buffer[])}`);
      self.end();
    },
    onBodySent(chunk) {
      self.note(`sent ${Buffer.from(chunk).toString('latin1')}`);
    },
    onRequestSent() {
      self.note('all sent');
    },
  };
  return Object.assign(self, { handler });
}

export const SHAPES: readonly { shape: string; record: () => Recorder }[] = [
  { shape: 'handlers of undici 6', record: oldRecorder },
  { shape: 'handlers of undici 7 and 8', record: newRecorder },
];
