/**
 * Makes the certificates that the tests of TLS use, with `openssl` (3.0): node test/tls/certificates/make.mjs. What it made is
 * checked in, valid for 100 years, so that the tests need no openssl. Each file holds a certificate, what leads to the root, and
 * the key. They are for tests: their keys are public.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const target = import.meta.dirname;
const work = mkdtempSync(path.join(tmpdir(), 'certificates-'));
const file = (name) => path.join(work, name);
const openssl = (...args) => execFileSync('openssl', args, { cwd: work, stdio: ['ignore', 'pipe', 'inherit'] });

const FROM = '20200101000000Z';
const TO = '21200101000000Z';

function newKey(name, kind = ['EC', '-pkeyopt', 'ec_paramgen_curve:P-256']) {
  openssl('genpkey', '-algorithm', kind[0], ...kind.slice(1), '-out', `${name}.key`);
}

/** `by` '': self-signed. */
function certify(name, { subject, extensions = [], by = '', from = FROM, to = TO, kind, digest = 'sha256' }) {
  newKey(name, kind);
  openssl('req', '-new', '-key', `${name}.key`, '-subj', subject, '-out', `${name}.csr`, `-${digest}`);
  writeFileSync(file('index.txt'), '');
  writeFileSync(file('index.txt.attr'), 'unique_subject = no\n');
  writeFileSync(file('serial'), `${Buffer.from(name).toString('hex').slice(0, 30).padStart(30, '1')}\n`);
  writeFileSync(
    file('ca.cnf'),
    `[ca]\ndefault_ca=one\n[one]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\npolicy=any\ndefault_md=${digest}\nunique_subject=no\n` +
      `[any]\ncommonName=optional\norganizationName=optional\n[extensions]\n${extensions.join('\n')}\n`,
  );
  const issuer = by === '' ? ['-selfsign', '-keyfile', `${name}.key`] : ['-cert', `${by}.crt`, '-keyfile', `${by}.key`];
  openssl(
    'ca',
    '-batch',
    '-notext',
    '-config',
    'ca.cnf',
    '-in',
    `${name}.csr`,
    '-out',
    `${name}.crt`,
    '-startdate',
    from,
    '-enddate',
    to,
    '-extensions',
    'extensions',
    ...issuer,
  );
}

function save(name, chain = []) {
  const parts = [`${name}.crt`, ...chain.map((one) => `${one}.crt`), `${name}.key`];
  writeFileSync(path.join(target, `${name}.pem`), parts.map((part) => readFileSync(file(part), 'utf8')).join(''));
}

const CA = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign', 'subjectKeyIdentifier=hash'];
const san = (...names) => [`subjectAltName=${names.join(',')}`];

certify('root', { subject: '/O=shardfetch tests/CN=Root', extensions: CA });
certify('other-root', { subject: '/O=shardfetch tests/CN=Other root', extensions: CA });
certify('middle', { subject: '/O=shardfetch tests/CN=Middle', extensions: CA, by: 'root' });
save('root');
save('other-root');

const good = san('DNS:good.test', 'DNS:*.wild.test', 'DNS:localhost', 'IP:127.0.0.1', 'IP:::1');
const leaf = (name, options, chain) => {
  certify(name, { subject: '/CN=good.test', extensions: good, by: 'root', ...options });
  save(name, chain);
};

leaf('good', {});
leaf('expired', { from: '20100101000000Z', to: '20110101000000Z' });
leaf('not-yet', { from: '21100101000000Z' });
leaf('self-signed', { by: '' });
leaf('untrusted', { by: 'other-root' });
leaf('incomplete', { by: 'middle' });
leaf('complete', { by: 'middle' }, ['middle']);
leaf('common-name-only', { extensions: ['keyUsage=digitalSignature'] });
leaf('no-subject', { subject: '/', extensions: [`${good[0].replace('=', '=critical,')}`] });
leaf('other-name', { extensions: san('DNS:other.test') });
leaf('address-as-name', { extensions: san('DNS:127.0.0.1', 'DNS:other.test') });
leaf('star', { extensions: san('DNS:*') });
leaf('partial-star', { extensions: san('DNS:x*.wild.test', 'DNS:xn--*.wild.test') });
leaf('rsa-512', { kind: ['RSA', '-pkeyopt', 'rsa_keygen_bits:512'] });
leaf('rsa', { kind: ['RSA', '-pkeyopt', 'rsa_keygen_bits:2048'] });
leaf('sha1', { digest: 'sha1' });
// SEQUENCE { [2] "good.test\0.evil.test" }
const nul = Buffer.from('good.test\0.evil.test', 'latin1');
const der = Buffer.concat([Buffer.from([0x30, nul.length + 2, 0x82, nul.length]), nul]);
leaf('nul', { subject: '/CN=evil.test', extensions: [`subjectAltName=DER:${der.toString('hex')}`] });
leaf('client', { subject: '/CN=client', extensions: ['extendedKeyUsage=clientAuth'] });
leaf('client-two', { subject: '/CN=client two', extensions: ['extendedKeyUsage=clientAuth'] });
openssl(
  'pkcs12',
  '-export',
  '-in',
  'client.crt',
  '-inkey',
  'client.key',
  '-out',
  'client.p12',
  '-passout',
  'pass:secret',
);
writeFileSync(path.join(target, 'client.p12'), readFileSync(file('client.p12')));
openssl('ec', '-in', 'client.key', '-aes128', '-passout', 'pass:secret', '-out', 'client-locked.key');
writeFileSync(path.join(target, 'client-locked.key'), readFileSync(file('client-locked.key')));
rmSync(work, { recursive: true });
