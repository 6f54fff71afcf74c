/** Dates as HTTP writes them, all three forms (RFC 9110 §5.6.7). Not by `Date.parse`, which takes one of them for local time. */

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `Sun, 06 Nov 1994 08:49:37 GMT` */
const IMF_FIXDATE = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT$/;
/** `Sunday, 06-Nov-94 08:49:37 GMT` */
const RFC_850 = /^[A-Z][a-z]{5,8}, (\d{2})-([A-Z][a-z]{2})-(\d{2}) (\d{2}):(\d{2}):(\d{2}) GMT$/;
/** `Sun Nov  6 08:49:37 1994` */
const ASCTIME = /^[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([ \d]\d) (\d{2}):(\d{2}):(\d{2}) (\d{4})$/;

/** Milliseconds since 1970; NaN for what is no date. */
export function parseHttpDate(text: string): number {
  const fixdate = IMF_FIXDATE.exec(text);
  if (fixdate !== null) return utc(fixdate[3], fixdate[2], fixdate[1], fixdate.slice(4));
  const rfc850 = RFC_850.exec(text);
  if (rfc850 !== null) return utc(String(fullYear(Number(rfc850[3]))), rfc850[2], rfc850[1], rfc850.slice(4));
  const asctime = ASCTIME.exec(text);
  if (asctime !== null) return utc(asctime[6], asctime[1], asctime[2], asctime.slice(3, 6));
  return Number.NaN;
}

function utc(year = '', monthName = '', day = '', [hours, minutes, seconds]: readonly string[]): number {
  const month = MONTHS.indexOf(monthName);
  if (month < 0) return Number.NaN;
  return Date.UTC(Number(year), month, Number(day), Number(hours), Number(minutes), Number(seconds));
}

/** A year of two digits more than 50 years ahead is the last one that ended so. */
function fullYear(year: number): number {
  const now = new Date().getUTCFullYear();
  const inThisCentury = Math.floor(now / 100) * 100 + year;
  return inThisCentury > now + 50 ? inThisCentury - 100 : inThisCentury;
}
