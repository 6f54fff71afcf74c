/** The names of the ways to drive a multi; what they do is in `driving.ts`. */

export const DRIVING_STYLES = ['hand', 'epoll', 'uv', 'perform', 'chaos'] as const;
export type DrivingStyle = (typeof DRIVING_STYLES)[number];
