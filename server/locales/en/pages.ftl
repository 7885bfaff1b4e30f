# Texts of the pages. Changed together with zh-CN/pages.ftl; keys and arguments must agree.

skip-to-content = Skip to content
nav-label = You are here
list-separator = { ", " }
logout = Log out

login-title = Log in
login-lead = For pharmacists: alerts and follow-up
login-name = Login
login-password = Password
login-button = Log in
login-note = Repeated failures lock the login for a while. If you have forgotten your password, ask your store's IT.
login-refused = Login or password is wrong.
login-throttled = Too many failures for this login. Try again in { $span }.
login-busy = Many people are logging in at this moment. Try again shortly.
login-form-old = This page was out of date. Please enter your password again.

queue-title = Alert queue
queue-scopes = By owner
queue-scope-all = All
queue-scope-mine = Mine
queue-scope-unassigned = Unassigned
queue-sections = By severity
queue-filter = Filter: name, condition, rule…
queue-more = More alerts wait than fit on one page; the gravest are shown.
queue-empty = Nothing is waiting
queue-empty-note = Whatever comes in appears here by itself.
queue-none-shown = No alert matches the filter
queue-show-all = Show all
queue-announcement = { $n } waiting, { $urgent } of them emergency or critical
live-on = Live
live-off = Connection lost, reconnecting
live-none = Refreshes every 30 s
signoff-note = Rule thresholds are defaults that await sign-off by this chain's clinical lead. Alerts are reminders to contact a professional; they are no diagnosis and give no dose.

help-title = Keyboard
help-move = Next, previous
help-open = Open
help-acknowledge = Acknowledge
help-take = Take the task
help-filter = Go to the filter
help-help = Show this help
help-close = Close
help-hint = Press ? for the keyboard

do-take = Take
do-acknowledge = Acknowledge
do-outcome = Record outcome
do-open = Open
state-acknowledged = Acknowledged
state-contacted = Contact recorded
state-new = New
owner-me = Mine
owner-me-short = Me
owner-none = Nobody yet
owner-label = Owner:
owner-unknown = A colleague
value-symptoms = Symptom
value-mean = mean of { $n }
spark-label = Last 30 days, { $n } values
call-allowed = The member agreed to be phoned by the pharmacist.
call-no-number = The member agreed to be phoned, but no number is on file.
call-not-allowed = The member has not agreed to be phoned: speak to them in person only, in the store. Do not call.
call-not-allowed-short = In person only

person-age = { $age } y
person-sex-age = { $sex } · { $age } y

alert-evidence = Evidence
alert-not-fresh = These measurements are some time ago: ask how the person is now and to measure again. Give no first-aid instruction.
alert-earlier = Earlier evidence of milder rules
alert-evidence-missing = Some of the evidence may not be shown.
alert-judged = Session mean that was judged:
alert-chart = Blood pressure, last 30 days
alert-why = Why this is here
alert-rule = Rule
alert-limits = Limits that applied
alert-opened = Opened
alert-newest = Newest evidence
alert-source = Source
alert-do = What to do
alert-steps = For the conversation
alert-past = Finished tasks
alert-acknowledged-by = Acknowledged by { $name }, { $time }
alert-closed = Ended { $time }: { $why }
open-file = Open file
drugs-label = Drug classes:
rule-sign-off = { $state } (reviewed { $date })

column-kind = Reading
column-measured = Measured
column-value = Value
column-mean = Mean
column-pulse = Pulse
column-place = Place
column-flags = Notes
column-time-source = Source of the time
column-received = received
column-day = Day

conflict-title = This has changed since you looked, and nothing was done. See what changed and decide again:
conflict-severity = Severity: { $from } → { $to }
conflict-reopened = A graver measurement came in and opened the alert again
conflict-owner = { $name } works on it now
conflict-owner-me = You work on it now
conflict-owner-none = Nobody works on it now
conflict-evidence = A new measurement or record was added

outcome-title = Record outcome
outcome-code = Outcome
outcome-choose = Please choose
outcome-note = Note (no identity numbers, no passwords)
outcome-next = Next contact (needed for a booked re-measurement or call back)
outcome-help = An outcome does not change what was measured; the alert clears when a later measurement is in range.
outcome-save = Save outcome
outcome-take-first = Take the task to record an outcome.
outcome-missing = Choose an outcome.
outcome-date-missing = This outcome needs a time for the next contact, in the future and within a year.
outcome-bad-date = The time cannot be read; write it as year-month-day hour:minute.
outcome-note-long = The note is too long.
outcome-not-allowed = This outcome cannot be recorded now: the task may be finished or somebody else's, or the alert may have ended.
task-attempts = { $n ->
    [one] One try without an answer
   *[other] { $n } tries without an answer
}
task-unreachable = Not reachable ({ $n } tries): find another way, or tell the manager

member-code = Card
member-no-consent = This member does not at present agree that readings are kept and evaluated
member-no-consent-note = No readings, totals or charts are shown, and earlier values should not be asked for. The member can agree again at any time, at the kiosk or with staff.
member-pressure = Blood pressure
member-period = Period
member-sessions = Sessions
member-glucose = Glucose
member-unit = Unit of glucose
member-others = Other readings
others-note = Weight, temperature and oxygen saturation are shown as measured. No rule looks at them and no alert comes of them.
others-earlier = Earlier
others-more = The newest { $n } of { $all } are shown.
other-at = { $kind } ({ $site })
member-symptoms = Recorded symptoms
member-alerts = Open alerts
member-alerts-none = No open alerts.
member-tasks = Follow-up tasks
member-drugs = Drug classes
member-drugs-none = No drugs on file.
member-consent = Consent
member-audit = Who opened or changed this file
consent-since = since { $time }
consent-ended = ended { $time }
consent-never = not given
period-days = { $n } days
legend-home = Home
legend-store = Store
legend-hollow = Hollow: take with care
legend-mean = 7-day mean of home readings
legend-target = Target: below { $systolic }/{ $diastolic } mmHg
glucose-empty = No glucose readings in this period.
glucose-key = ▲▲ very high, ▲ high, ▼ low, ▼▼ very low; HI and LO are outside the meter's range. Marked by the rules' limits in the meter's own unit. “Not said” means that nobody named the meal, and nothing is guessed.
glucose-very-low = very low
glucose-low = low
glucose-within = within alert limits
glucose-high = high
glucose-very-high = very high
audit-gateway = Gateway
audit-system = System
session-open = Waits for further readings
session-single = One reading only
session-unusable = Nothing usable, no mean
session-superseded = Replaced by a new pair
session-further-missing = Readings differ, a further one is missing

bp-chart-title = Blood pressure chart
bp-chart-empty = No blood pressure readings in this period
bp-chart-description = { $n ->
    [one] One session; the last is { $value } mmHg, { $time }. The table below lists all values.
   *[other] { $n } sessions; the last is { $value } mmHg, { $time }. The table below lists all values.
}

meters-title = Meters
meters-lead = Meters registered with the store. They are paired at the gateway; this page only shows them. A meter that is near and not registered, or that is recognised and cannot be read, is shown at the gateway (staff page).
meters-none = No meter is registered yet. Pair the first one at the store's gateway.
meters-first = From the beginning
meters-more = Next page
meters-model = Model
meters-model-unknown = Model not known
meters-twins = { $n } of this model here
meters-serial = Serial number
meters-tail = Address ends in
meters-use = Measures, whose
meters-firmware = Firmware
meters-support = Support
meters-seen = Last reading
meters-unsaid = not stated
meters-unseen = none yet
meters-owners = { $n ->
    [one] one member
   *[other] { $n } members
}
meters-nobody = Bound to nobody

limit-pressure = ≥ { $systolic } systolic or ≥ { $diastolic } diastolic mmHg
limit-systolic-below = < { $mmhg } systolic mmHg
limit-systolic-drop = systolic at least { $mmhg } mmHg below the personal mean
limit-glucose = { $mmol } (meter in mg/dL: { $mg })
limit-danger-symptom = a danger symptom, at any value

when-just-now = just now
when-ago = { $span } ago
when-ahead = in { $span }
when-today = today { $time }
when-yesterday = yesterday { $time }
when-day = { $day } { $month }
when-day-year = { $day } { $month } { $year }
when-late = arrived { $span } late
due-now = due now
due-left = { $span } left
due-overdue = { $span } overdue
span-minutes = { $n } min
span-hours = { $n } h
span-hours-minutes = { $h } h { $m } min
span-days = { $n } days
time-separator = { ", " }
time-meter = the meter showed { $time }
time-correction = corrected by { $correction }
time-corrected = Meter's clock, corrected by { $correction }
time-unsure = the gateway's clock was not yet set

error-request = Request
error-to-queue = Back to the queue
error-to-login = To the login
error-login = Please log in
error-login-advice = You can go on after logging in.
error-not-found = There is nothing here
error-not-found-advice = The address does not exist, or is not for your store. Start from the queue.
error-role = This account sees no health data
error-role-advice = Accounts for running the machines do not see members. Log in as a pharmacist or manager.
error-token = This page was out of date
error-token-advice = Nothing was done. Go back, open the page again and retry.
error-form = What was sent cannot be read
error-form-advice = Nothing was done. Go back, check it and try again.
error-large = What was sent is too large
error-large-advice = Nothing was done. Shorten the note and try again.
error-busy = The database does not answer
error-busy-advice = It may not have been done. Wait a few seconds, reload the page to see, then try again.
error-internal = Something went wrong here
error-internal-advice = It has been logged; readings that were received are not lost. Try again; if it keeps happening, give the request number to your IT.
