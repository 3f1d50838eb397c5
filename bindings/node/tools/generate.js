// Makes lib/generated/: constants, structs and functions of ortshard.json, and the header's words on them.
//
//     node tools/generate.js           writes it
//     node tools/generate.js --check   fails if it is not what it would be

import { readFileSync, writeFileSync } from 'node:fs';

const include = new URL('../../../include/', import.meta.url);
const described = JSON.parse(readFileSync(new URL('ortshard.json', include), 'utf8'));
const header = readFileSync(new URL('ortshard.h', include), 'utf8');

/** `ortshard_sampler_options` is SamplerOptions, `top_k` is topK. */
const typeName = (name) => name.replace(/^ortshard/, '').replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
const fieldName = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());

/** The text of the comment that ends at `end`, as lines without their stars. */
const words = (comment) => comment.split('\n').map((line) => line.replace(/^\s*\*? ?/, '').trim()).join('\n').trim();

/** What the header says about each field of a struct. */
function docsOf(struct) {
  const body = header.match(new RegExp(`typedef struct ${struct} \\{\\n([^]*?)\\n\\} ${struct};`))[1];
  const found = body.matchAll(/\/\*\*([^]*?)\*\/\s*[^;]*?(\w+)(?:\[\d+\])?;/g);
  return Object.fromEntries([...found].map(([, comment, field]) => [field, words(comment)]));
}

/** What members of an enum are called without what all of them begin with. */
function members(names) {
  const parts = names.map((name) => name.replace('ORTSHARD_ERROR_', 'ORTSHARD_').split('_'));
  let shared = 1;
  while (parts.every((part) => part.length > shared + 1 && part[shared] === parts[0][shared])) shared += 1;
  return names.map((name, at) => [parts[at].slice(shared).join('_'), described.constants[name]]);
}

const NUMBERS = new Set(['int32_t', 'uint32_t', 'int64_t', 'uint64_t', 'size_t', 'float', 'double']);

/**
 * What a struct's fields are to a program: a list is a pointer and the number behind it, a text may have its length behind
 * it, a switch is true or false. What is no program's business (sizes, callbacks, what lies elsewhere) has no kind.
 */
function fieldsOf(struct) {
  const docs = docsOf(struct);
  const { fields } = described.structs[struct];
  return fields.map(({ name, type, offset, size }, at) => {
    const next = fields[at + 1]?.type === 'size_t' ? fields[at + 1].name : '';
    const pointed = type.match(/^const (\w+) \*$/)?.[1];
    const base = { name: fieldName(name), offset, size, doc: docs[name] ?? '' };
    if (name === 'struct_size') return base;
    if (type === 'const char *') return { ...base, kind: 'text', length: /(^|_)length$/.test(next) };
    if (type === 'const char *const *') return { ...base, kind: 'texts', type: 'string[]' };
    if (/(^|_)count$/.test(next) && pointed) {
      return { ...base, kind: 'list', of: pointed, type: pointed === 'int64_t' ? 'Ids' : `${typeName(pointed)}[]` };
    }
    if (pointed && described.structs[pointed]) return { ...base, kind: 'struct', of: pointed, type: typeName(pointed) };
    if (described.handles.includes(pointed)) return { ...base, kind: 'handle', of: typeName(pointed), type: `import('../index.js').${typeName(pointed)}` };
    if (/^char\[/.test(type)) return { ...base, kind: 'chars', type: 'string' };
    if (!NUMBERS.has(type)) return base;
    if (at && /(^|_)(count|length)$/.test(name) && /\*$/.test(fields[at - 1].type)) return base;
    if (/^(is|can)_/.test(name) || /Not 0:/.test(base.doc)) return { ...base, kind: 'switch', of: type, type: 'boolean' };
    return { ...base, kind: 'number', of: type, type: name === 'seed' ? 'number | bigint' : 'number' };
  });
}

const structs = Object.fromEntries(Object.keys(described.structs).map((name) => [name, fieldsOf(name)]));
const enums = Object.fromEntries(Object.entries(described.enums).map(([name, names]) => [typeName(name), members(names)]));
const alone = Object.entries(described.constants)
  .filter(([name]) => !Object.values(described.enums).flat().includes(name) && !/_VERSION_/.test(name))
  .map(([name, value]) => [name.replace('ORTSHARD_', ''), value]);
/** What programs meet as something else: inputs and outputs, and ranges of a text. */
const hidden = new Set(['ortshard_tensor', 'ortshard_piece', 'ortshard_byte_range']);
const warning = '// Made by tools/generate.js from ortshard.json and ortshard.h: not to be edited.\n';

function constants() {
  const lines = [warning];
  for (const [name, value] of alone) lines.push(`export const ${name} = ${value};`);
  for (const [name, list] of Object.entries(enums)) {
    lines.push(`export const ${name} = Object.freeze({ ${list.map(([member, value]) => `${member}: ${value}`).join(', ')} });`);
  }
  lines.push('');
  return lines.join('\n');
}

function layout() {
  const lines = [warning, 'export const structs = {'];
  for (const [name, fields] of Object.entries(structs)) {
    const { size, fields: raw } = described.structs[name];
    lines.push(`  ${name}: {`, `    size: ${size},`);
    const defaults = raw.filter((field) => 'default' in field).map((field) => `${fieldName(field.name)}: ${described.constants[field.default] ?? field.default}`);
    if (described.structs[name].has_init) lines.push(`    init: ${defaults.length ? `{ ${defaults.join(', ')} }` : '{}'},`);
    lines.push('    fields: [');
    for (const { name: field, offset, size: bytes, kind, of, length } of fields) {
      const facts = { offset, size: bytes, kind, of, length: length || undefined };
      const text = Object.entries(facts).filter(([, value]) => value !== undefined);
      lines.push(`      { name: '${field}', ${text.map(([key, value]) => `${key}: ${typeof value === 'string' ? `'${value}'` : value}`).join(', ')} },`);
    }
    lines.push('    ],', '  },');
  }
  lines.push('};\n', '/** The result and the parameters of each function, as the foreign function interface takes them. */', 'export const functions = {');
  const foreign = (type) => {
    const plain = described.aliases[type] ?? type;
    return NUMBERS.has(plain) || plain === 'void' ? plain : 'void *';
  };
  for (const [name, { result, parameters }] of Object.entries(described.functions)) {
    const types = parameters.map(([, type]) => `'${foreign(type)}'`).join(', ');
    lines.push(`  ${name}: ['${result === 'const char *' ? 'str' : foreign(result)}', [${types}]],`);
  }
  lines.push('};', '');
  return lines.join('\n');
}

function types() {
  const lines = [warning, '/** Token ids. */', 'export type Ids = Iterable<number | bigint>;\n'];
  const comment = (doc, indent) => {
    if (!doc) return [];
    const text = doc.split('\n');
    return text.length === 1 ? [`${indent}/** ${doc} */`] : [`${indent}/**`, ...text.map((line) => `${indent} * ${line}`.trimEnd()), `${indent} */`];
  };
  for (const [name] of alone) lines.push(`export const ${name}: number;`);
  for (const [name, list] of Object.entries(enums)) {
    lines.push(`\nexport const ${name}: Readonly<{`, ...list.map(([member, value]) => `  ${member}: ${value};`), '}>;');
  }
  for (const [name, fields] of Object.entries(structs)) {
    if (hidden.has(name)) continue;
    const given = /_(options|spec|bias|message|plan_device)$/.test(name);
    lines.push(`\nexport interface ${typeName(name)} {`);
    for (const { name: field, kind, type = 'string', doc, length } of fields) {
      if (!kind) continue;
      const optional = given && !/_(bias|message)$/.test(name);
      const missing = !given && kind === 'text' && !length ? ' | null' : '';
      lines.push(...comment(doc, '  '), `  ${field}${optional ? '?' : ''}: ${type}${missing};`);
    }
    lines.push('}');
  }
  lines.push('');
  return lines.join('\n');
}

const files = { 'constants.js': constants(), 'layout.js': layout(), 'index.d.ts': types() };
for (const [name, text] of Object.entries(files)) {
  const place = new URL(`../lib/generated/${name}`, import.meta.url);
  if (!process.argv.includes('--check')) writeFileSync(place, text);
  else if (readFileSync(place, 'utf8') !== text) {
    console.error(`lib/generated/${name} is not what ortshard.json says: npm run generate`);
    process.exitCode = 1;
  }
}
