// Linting of src/, test/ (with type information) and the plain .mjs programs of scripts/ and bench/.
import js from '@eslint/js'
import tseslint from 'typescript-eslint'

const nodeGlobals = Object.fromEntries(
  [
    'AbortController AbortSignal Buffer FormData TextDecoder TextEncoder URL URLSearchParams clearInterval clearTimeout console fetch performance',
    'process queueMicrotask setImmediate setInterval setTimeout structuredClone',
  ]
    .join(' ')
    .split(' ')
    .map((name) => [name, 'readonly']),
)

export default tseslint.config(
  { ignores: ['node_modules/', 'dist/', 'build/', 'vendor/', 'prebuilds/', 'coverage/', 'bench/results/'] },
  js.configs.recommended,
  {
    files: ['**/*.{js,mjs}'],
    languageOptions: { globals: nodeGlobals },
  },
  {
    files: ['src/**/*.ts', 'test/**/*.ts', 'vitest.config.ts'],
    extends: [...tseslint.configs.strict],
    languageOptions: {
      parserOptions: { projectService: { allowDefaultProject: ['vitest.config.ts'] }, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: { arguments: false, properties: false } }],
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports', disallowTypeAnnotations: false }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', ignoreRestSiblings: true }],
      // with noUncheckedIndexedAccess an index that a loop has just bounded needs it
      '@typescript-eslint/no-non-null-assertion': 'off',
      // { [name]: value } objects of a wire format lose a field by delete where undefined would be sent
      '@typescript-eslint/no-dynamic-delete': 'off',
    },
  },
  {
    rules: {
      eqeqeq: ['error', 'always', { null: 'ignore' }],
      'no-control-regex': 'off',
      'object-shorthand': 'error',
      'prefer-const': ['error', { ignoreReadBeforeAssign: true }],
    },
  },
)
