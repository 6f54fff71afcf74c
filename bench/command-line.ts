/** Options of the benchmarks' command lines: numbers with bounds, and sentences about what is wrong with them. */

export class UsageError extends Error {}

export function integerOption(name: string, text: string, min: number, max: number): number {
  const value = Number(text.replaceAll('_', ''));
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new UsageError(`--${name} must be a whole number from ${min} to ${max}, not ${JSON.stringify(text)}.`);
}

export function choiceOption<T extends string>(name: string, text: string, choices: readonly T[]): T {
  const choice = choices.find((candidate) => candidate === text);
  if (choice !== undefined) return choice;
  throw new UsageError(`--${name} must be ${choices.join(' or ')}, not ${JSON.stringify(text)}.`);
}

/** Runs a program to its exit code; usage errors are told in one sentence, others with where they come from. */
export async function runProgram(program: () => Promise<number>): Promise<void> {
  try {
    process.exitCode = await program();
  } catch (error) {
    // What node:util's parseArgs says about unknown options is one good sentence as well.
    const usage =
      error instanceof UsageError || String((error as { code?: unknown }).code).startsWith('ERR_PARSE_ARGS');
    console.error(usage ? `${(error as Error).message.replace(/\.?$/, '.')} Try --help.` : error);
    process.exit(usage ? 2 : 1);
  }
}
