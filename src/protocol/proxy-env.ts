/**
 * The proxies that the environment names, by curl's variables: `http_proxy` (in lower case only: a CGI script finds the request's
 * `Proxy` field in HTTP_PROXY), `https_proxy`, `all_proxy` and `no_proxy`; of the last three the lower case comes first. An empty
 * variable counts as not set.
 */

export type Environment = Readonly<Record<string, string | undefined>>;

/** `value` '': there is none. */
export interface Variable {
  readonly variable: string;
  readonly value: string;
}

export function environmentProxies(environment: Environment): { http: Variable; https: Variable; noProxy: string } {
  const http = ['http_proxy', 'all_proxy', 'ALL_PROXY'];
  const https = ['https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY'];
  return {
    http: firstSet(environment, http),
    https: firstSet(environment, https),
    noProxy: firstSet(environment, ['no_proxy', 'NO_PROXY']).value,
  };
}

function firstSet(environment: Environment, variables: readonly string[]): Variable {
  const variable = variables.find((name) => (environment[name] ?? '') !== '') ?? '';
  return { variable, value: environment[variable] ?? '' };
}
