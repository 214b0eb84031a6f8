/**
 * Dates as Python's `datetime.strftime` writes them on Linux, in the C locale and without a time zone.
 *
 * Knows nothing about templates.
 */

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];
const DAY_MS = 86_400_000;

/** A number with the pad and width that its code has by itself. */
interface Field {
  readonly value: number;
  readonly width: number;
  readonly pad: "0" | " ";
}

const WHOLE: Readonly<Record<string, string>> = {
  c: "%a %b %e %H:%M:%S %Y",
  D: "%m/%d/%y",
  F: "%Y-%m-%d",
  r: "%I:%M:%S %p",
  R: "%H:%M",
  T: "%H:%M:%S",
  x: "%m/%d/%y",
  X: "%H:%M:%S",
};

/** `now` in the form `form`, by the clock of this place. */
export function strftime(form: string, now: Date): string {
  return form.replace(/%([-_0^#]?)([A-Za-z%])/g, (code, flag: string, letter: string) => {
    const whole = WHOLE[letter];
    if (whole !== undefined) return cased(strftime(whole, now), flag);
    const text = textOf(letter, now);
    if (text !== null) return letter === "p" && flag === "#" ? text.toLowerCase() : cased(text, flag);
    const field = fieldOf(letter, now);
    if (field === null) return code;
    const pad = flag === "0" ? "0" : flag === "_" ? " " : field.pad;
    return flag === "-" ? `${field.value}` : `${field.value}`.padStart(field.width, pad);
  });
}

function cased(text: string, flag: string): string {
  return flag === "^" || flag === "#" ? text.toUpperCase() : text;
}

function textOf(letter: string, now: Date): string | null {
  const day = DAYS[now.getDay()] as string;
  const month = MONTHS[now.getMonth()] as string;
  const half = now.getHours() < 12 ? "AM" : "PM";
  switch (letter) {
    case "a":
      return day.slice(0, 3);
    case "A":
      return day;
    case "b":
    case "h":
      return month.slice(0, 3);
    case "B":
      return month;
    case "p":
      return half;
    case "P":
      return half.toLowerCase();
    case "f":
      return `${now.getMilliseconds() * 1000}`.padStart(6, "0");
    case "n":
      return "\n";
    case "t":
      return "\t";
    case "z":
    case "Z":
      return ""; // a date of Python has no zone by itself
    case "%":
      return "%";
    default:
      return null;
  }
}

function fieldOf(letter: string, now: Date): Field | null {
  const two = (value: number): Field => ({ value, width: 2, pad: "0" });
  const blank = (value: number): Field => ({ value, width: 2, pad: " " });
  const one = (value: number): Field => ({ value, width: 1, pad: "0" });
  const [year, hour, weekday] = [now.getFullYear(), now.getHours(), now.getDay()];
  const monday = (weekday + 6) % 7; // 0 on Mondays
  const dayOfYear = daysBetween(new Date(year, 0, 1), now);
  switch (letter) {
    case "C":
      return two(Math.floor(year / 100));
    case "d":
      return two(now.getDate());
    case "e":
      return blank(now.getDate());
    case "g":
      return two(isoWeek(now).year % 100);
    case "G":
      return one(isoWeek(now).year);
    case "H":
      return two(hour);
    case "I":
      return two(hour % 12 || 12);
    case "j":
      return { value: dayOfYear + 1, width: 3, pad: "0" };
    case "k":
      return blank(hour);
    case "l":
      return blank(hour % 12 || 12);
    case "m":
      return two(now.getMonth() + 1);
    case "M":
      return two(now.getMinutes());
    case "s":
      return one(Math.floor(now.getTime() / 1000));
    case "S":
      return two(now.getSeconds());
    case "u":
      return one(monday + 1);
    case "U":
      return two(Math.floor((dayOfYear + 7 - weekday) / 7));
    case "V":
      return two(isoWeek(now).week);
    case "w":
      return one(weekday);
    case "W":
      return two(Math.floor((dayOfYear + 7 - monday) / 7));
    case "y":
      return two(year % 100);
    case "Y":
      return one(year);
    default:
      return null;
  }
}

/** The year and week that a day belongs to: weeks begin on Mondays and are of the year that has their Thursday. */
function isoWeek(now: Date): { readonly year: number; readonly week: number } {
  const thursday = new Date(now.getFullYear(), now.getMonth(), now.getDate() + 3 - ((now.getDay() + 6) % 7));
  const days = daysBetween(new Date(thursday.getFullYear(), 0, 1), thursday);
  return { year: thursday.getFullYear(), week: Math.floor(days / 7) + 1 };
}

/** Whole days, whatever clocks were set to in between. */
function daysBetween(one: Date, other: Date): number {
  const start = (date: Date) => Date.UTC(date.getFullYear(), date.getMonth(), date.getDate());
  return Math.round((start(other) - start(one)) / DAY_MS);
}
