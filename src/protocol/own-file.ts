/** Files of this package that are found beside the code: those that threads run, the addon. A bundler takes the code away from them. */

import { existsSync } from 'node:fs';
import { AddonError } from './addon-error.ts';

/** `base`: the `import.meta.url` of who asks, which some bundlers leave empty. Throws an AddonError where the file is not there. */
export function ownFile(relative: string, base: string | undefined): URL {
  const file = base === undefined ? null : new URL(relative, base);
  if (file !== null && existsSync(file)) return file;
  throw new AddonError(
    `shardfetch cannot find its own files${file === null ? '' : ` (${file.href})`}: it was bundled, or is not whole. ` +
      'A bundler must leave it external (--external:shardfetch, serverExternalPackages …): see docs/bundling.md of the package.',
  );
}
