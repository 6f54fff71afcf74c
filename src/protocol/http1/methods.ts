/** What is known of request methods by their names. */

/** Methods whose repetition has the effect of one request (RFC 9110 §9.2.2). TRACE is one, and is not sent (request-head.ts). */
export const IDEMPOTENT_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']);
