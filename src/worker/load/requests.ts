/**
 * Requests that differ from one to the next: templates, bodies read from files, cookies, redirects that are followed. Costs what each
 * of them takes and nothing else; a run that has none of them uses `WeightedTargets`, where a request costs next to nothing.
 */

import { CHUNKED_BODY, NO_BODY } from '../../protocol/http1/request-head.ts';
import { tagsOf } from '../../protocol/load/messages.ts';
import type { LoadPlan, LoadTarget } from '../../protocol/load/plan.ts';
import { originOf } from '../../protocol/origin.ts';
import { changesToGet } from '../../protocol/redirect-rules.ts';
import { type RoutePlan, resolveRouteOptions } from '../../protocol/route-options.ts';
import { type Route, routeOf } from '../multi/route.ts';
import type { Transfer } from '../multi/transfer.ts';
import type { PreparedRequest } from '../multi/transfer-options.ts';
import type { UploadSource } from '../multi/upload.ts';
import { BodyFile, type BodyFileReader } from './body-file.ts';
import { CookieJar } from './cookie-jar.ts';
import { fieldValues } from './head-fields.ts';
import { redirectHead, redirectOf } from './redirects.ts';
import { prepareTarget, type RequestSource, rotationOf } from './request-source.ts';
import { FilledTemplate, TemplateRow } from './template.ts';

/** Routes of origins that redirects led to; more are forgotten. */
const ROUTES_MAX = 1_000;

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** A kind of request, as this shard sends it. */
interface Kind {
  readonly target: LoadTarget;
  readonly tag: number;
  /** By local address. They are pointed at the next request each time. */
  readonly requests: readonly Writable<PreparedRequest>[];
  /** What there is of the head before the run. */
  readonly head: string;
  readonly template: FilledTemplate | null;
  readonly file: BodyFile | null;
  /** For cookies, where no template changes it. */
  readonly url: URL;
}

/** Who uses a slot: what is remembered from one of its requests to the next. */
interface User {
  readonly jar: CookieJar;
  readonly readers: Map<BodyFile, BodyFileReader>;
  tag: number;
  /** Where the present request goes. */
  url: URL;
  /** Where its answer leads; null: it is the last one. */
  next: URL | null;
  /** Redirects followed since the request that began it. */
  hops: number;
}

export function needsVariedTargets(plan: LoadPlan): boolean {
  if (plan.cookies || plan.redirectsMax > 0) return true;
  return plan.targets.some(({ template, bodyFile }) => template !== null || bodyFile !== null);
}

export class VariedTargets implements RequestSource {
  readonly #plan: LoadPlan;
  readonly #kinds: readonly Kind[];
  readonly #row: TemplateRow;
  readonly #hasTemplates: boolean;
  readonly #users: User[] = [];
  readonly #rotation: Uint16Array;
  #place: number;
  /** By local address. */
  readonly #routePlans: readonly RoutePlan[];
  readonly #routes: Map<string, Route>[];
  /** Set where answers are looked at. */
  readonly #onHead: ((transfer: Transfer, bytes: Uint8Array, start: number, end: number) => void) | null;

  constructor(plan: LoadPlan, shard: number) {
    const tags = tagsOf(plan);
    const locals = plan.localAddresses.length === 0 ? [undefined] : plan.localAddresses;
    this.#plan = plan;
    this.#row = new TemplateRow(plan.tables, shard, plan.shards);
    this.#kinds = plan.targets.map((target) => kindOf(plan, target, locals, tags.indexOf(target.tag)));
    this.#hasTemplates = this.#kinds.some(({ template }) => template !== null);
    this.#rotation = rotationOf(plan.targets.map(({ weight }) => weight));
    this.#place = Math.floor((this.#rotation.length * shard) / plan.shards);
    this.#routePlans = locals.map((localAddress) =>
      resolveRouteOptions(localAddress === undefined ? plan.route : { ...plan.route, localAddress }),
    );
    this.#routes = locals.map(() => new Map());
    const looks = plan.cookies || plan.redirectsMax > 0;
    this.#onHead = looks ? (transfer, bytes, start, end) => this.#answered(transfer, bytes, start, end) : null;
  }

  first(slot: number): PreparedRequest {
    const [kind] = this.#kinds as [Kind];
    this.#users[slot] = { jar: new CookieJar(), readers: new Map(), tag: kind.tag, url: kind.url, next: null, hops: 0 };
    return kind.requests[slot % kind.requests.length] as PreparedRequest;
  }

  prepare(transfer: Transfer, slot: number): number {
    if (this.#place === this.#rotation.length) this.#place = 0;
    const kind = this.#kinds[this.#rotation[this.#place++] as number] as Kind;
    const { template, file, target } = kind;
    const user = this.#users[slot] as User;
    const request = kind.requests[slot % kind.requests.length] as Writable<PreparedRequest>;
    user.tag = kind.tag;
    user.url = kind.url;
    user.next = null;
    user.hops = 0;
    const cookies = this.#plan.cookies ? user.jar.field(user.url) : '';
    if (this.#hasTemplates) this.#row.next();
    if (template !== null) request.head = template.compose(this.#row, cookies);
    else request.head = cookies === '' ? kind.head : `${kind.head.slice(0, -2)}${cookies}\r\n`;
    if (template !== null && this.#onHead !== null) user.url = urlOf(request.head, kind.url);
    request.body = target.body;
    request.upload = file === null ? null : readerOf(user, file);
    transfer.become(request);
    transfer.onHead = this.#onHead;
    return kind.tag;
  }

  /** Points the transfer at where its last answer led. False: it led nowhere. */
  follow(transfer: Transfer, slot: number): boolean {
    const user = this.#users[slot] as User;
    const { url, next } = user;
    if (next === null) return false;
    user.next = null;
    const dropsBody = changesToGet(transfer.status, transfer.method);
    const method = dropsBody ? 'GET' : transfer.method;
    const { head: sent } = transfer;
    const headEnd = sent.indexOf('\r\n\r\n') + 4;
    // The body of a template stands behind the head.
    const text = dropsBody ? '' : sent.slice(headEnd);
    const body = dropsBody ? null : transfer.body;
    const upload = dropsBody ? null : transfer.upload;
    const bodyBytes = text !== '' ? text.length : (body?.length ?? bytesOf(upload));
    const local = slot % this.#routePlans.length;
    let head: string;
    try {
      head = redirectHead(sent, url, next, method, dropsBody, bodyBytes);
    } catch {
      return false;
    }
    if (upload !== null) (upload as BodyFileReader).rewind();
    const cookies = this.#plan.cookies ? user.jar.field(next) : '';
    if (cookies !== '') head = `${head.slice(0, -2)}${cookies}\r\n`;
    const request = (this.#kinds[0] as Kind).requests[local] as PreparedRequest;
    transfer.become({ ...request, route: this.#routeOf(next, local), method, head: head + text, body, upload });
    user.url = next;
    user.hops++;
    return true;
  }

  close(): void {
    for (const { file } of this.#kinds) file?.close();
  }

  #answered(transfer: Transfer, bytes: Uint8Array, start: number, end: number): void {
    const user = this.#users[transfer.id] as User;
    const head = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1');
    if (this.#plan.cookies) {
      for (const value of fieldValues(head, 'set-cookie')) user.jar.take(value, user.url);
    }
    const mayFollow = user.hops < this.#plan.redirectsMax && transfer.status >= 300 && transfer.status < 400;
    user.next = mayFollow ? redirectOf(transfer.status, fieldValues(head, 'location')[0], user.url) : null;
  }

  #routeOf(url: URL, local: number): Route {
    const routes = this.#routes[local] as Map<string, Route>;
    const known = routes.get(url.origin);
    if (known !== undefined) return known;
    if (routes.size === ROUTES_MAX) routes.clear();
    const route = routeOf(originOf(url), this.#routePlans[local] as RoutePlan);
    routes.set(url.origin, route);
    return route;
  }
}

function kindOf(plan: LoadPlan, target: LoadTarget, locals: readonly (string | undefined)[], tag: number): Kind {
  const requests = locals.map((local) => ({ ...prepareTarget(plan, target, local) }));
  const { template, bodyFile, url } = target;
  return {
    target,
    tag,
    requests,
    head: (requests[0] as PreparedRequest).head,
    template: template === null ? null : new FilledTemplate(template, plan.tables),
    file: bodyFile === null ? null : new BodyFile(bodyFile),
    url: new URL(url),
  };
}

/** The URL that a head asks for, at the origin of `base`. */
function urlOf(head: string, base: URL): URL {
  const from = head.indexOf(' ') + 1;
  return new URL(head.slice(from, head.indexOf(' ', from)), base);
}

function readerOf(user: User, file: BodyFile): BodyFileReader {
  let reader = user.readers.get(file);
  if (reader === undefined) {
    reader = file.reader();
    user.readers.set(file, reader);
  }
  reader.rewind();
  return reader;
}

function bytesOf(upload: UploadSource | null): number {
  if (upload === null) return NO_BODY;
  return upload.length < 0 ? CHUNKED_BODY : upload.length;
}
