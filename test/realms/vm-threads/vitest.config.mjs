/** As a project that uses the package has it: its own files are transformed, the package is loaded as it is. */
export default {
  test: { pool: 'vmThreads', include: ['*.case.mjs'], server: { deps: { external: [/\/dist\//] } }, watch: false },
};
