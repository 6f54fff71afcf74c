export const BUGS: readonly { name: string; file: string; from: string; to: string }[];
