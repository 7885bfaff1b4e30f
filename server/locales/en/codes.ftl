# Words for codes of the domain: key is the enumeration's prefix and the code.

severity-emergency = Emergency
severity-critical = Critical
severity-high = High
severity-moderate = Moderate
severity-low = Low
severity-info = Note
severity-pending = To be repeated

sex-female = F
sex-male = M
sex-unknown = –
place-home = Home
place-store = Store

condition-hypertension = Hypertension
condition-diabetes = Diabetes
condition-ckd = Kidney disease
condition-atrial-fibrillation = Atrial fibrillation
condition-pregnant = Pregnant
condition-postpartum = Postpartum

drug-antihypertensive = Antihypertensive
drug-beta-blocker = Beta blocker
drug-insulin = Insulin
drug-insulin-long = Long-acting insulin
drug-sulfonylurea = Sulfonylurea
drug-alpha-glucosidase-inhibitor = Alpha-glucosidase inhibitor
drug-other = Other

slot-none = Meal not said
slot-fasting = Fasting
slot-before-breakfast = Before breakfast
slot-after-breakfast = After breakfast
slot-before-lunch = Before lunch
slot-after-lunch = After lunch
slot-before-dinner = Before dinner
slot-after-dinner = After dinner
slot-bedtime = Bedtime
slot-night = Night
slot-random = Random
slot-short-none = Not said
slot-short-fasting = Fasting
slot-short-before-breakfast = Before breakf.
slot-short-after-breakfast = After breakf.
slot-short-before-lunch = Before lunch
slot-short-after-lunch = After lunch
slot-short-before-dinner = Before dinner
slot-short-after-dinner = After dinner
slot-short-bedtime = Bedtime
slot-short-night = Night
slot-short-random = Random

flag-body-movement = Movement
flag-cuff-loose = Cuff loose
flag-irregular-pulse = Irregular pulse
flag-improper-position = Wrong position
flag-pulse-above-upper = Pulse above the cuff's range
flag-pulse-below-lower = Pulse below the cuff's range
flag-battery-low = Battery low
flag-sensor-malfunction = Sensor fault
flag-sample-insufficient = Sample too small
flag-strip-insertion-error = Strip inserted wrongly
flag-strip-type-incorrect = Wrong strip
flag-result-too-high = Above the meter's range
flag-result-too-low = Below the meter's range
flag-temp-too-high = Too hot
flag-temp-too-low = Too cold
flag-read-interrupted = Strip pulled too early
flag-general-fault = Meter fault
flag-time-fault = Clock fault
flag-not-rested = Not rested
flag-calibration-overdue = Calibration overdue
flag-measurement-error = Measurement error
flag-date-repaired = Meter's date repaired
flag-questionable = Questionable measurement
flag-poor-signal = Poor signal
flag-status-undeclared = Undeclared status left out

symptom-chest-pain = Chest pain
symptom-face-arm-speech = Change of face, arm or speech
symptom-confusion = Confusion
symptom-fainting = Fainting
symptom-breathless-at-rest = Breathless at rest
symptom-vision-loss = Sudden loss of vision
symptom-worst-headache = Worst headache ever
symptom-dizziness = Dizziness
symptom-vomiting = Vomiting
symptom-deep-breathing = Deep breathing
symptom-acetone-breath = Acetone breath
symptom-drowsiness = Drowsiness
symptom-needed-help = Low glucose, needed help
symptom-seizure = Seizure
symptom-unconscious = Unconscious

purpose-care-record = Keep and evaluate readings
purpose-pharmacist-call = Phone call by the pharmacist
purpose-alert-message = Messages about abnormal readings
purpose-reminder = Reminders
purpose-family-contact = Contact with family
purpose-marketing = Marketing
purpose-statistics = Statistics

time-quality-meter-ok = Meter's own clock
time-quality-skew-corrected = Meter's clock, corrected
time-quality-skew-uncertain = Meter's clock, correction uncertain
time-quality-offset-missing = Meter's clock, offset unknown
time-quality-received-time-used = Time of receipt (the meter's own is unusable)

kind-bp = Blood pressure
kind-glucose = Glucose
kind-weight = Weight
kind-temperature = Temperature
kind-oxygen-saturation = Oxygen saturation

site-armpit = armpit
site-body = body
site-ear = ear
site-finger = finger
site-gastro-intestinal-tract = gastro-intestinal tract
site-mouth = mouth
site-rectum = rectum
site-toe = toe
site-tympanum = ear drum

meter-kind-blood-pressure = Blood pressure
meter-kind-glucose = Glucose
meter-kind-weight = Weight
meter-kind-temperature = Temperature
meter-kind-oxygen-saturation = Oxygen saturation
meter-role-personal = A member's own
meter-role-store-shared = The store's own

support-supported = Supported
support-recognised-unsupported = Recognised, unsupported
support-standard = By the standard

rule-bp-01 = Very high blood pressure, to be repeated
rule-bp-02 = Very high blood pressure
rule-bp-03 = Very high blood pressure with a danger symptom
rule-bp-04 = Raised in the store on different days
rule-bp-05 = High blood pressure
rule-bp-06 = Low blood pressure
rule-gl-01 = Low glucose
rule-gl-02 = Very low glucose
rule-gl-03 = Very high glucose
rule-gl-04 = High glucose twice within 24 hours
rule-sy-01 = Danger symptom reported

task-kind-approach = Speak to the person at the kiosk
task-kind-call = Call
task-kind-same-day-doctor = Arrange a doctor today
task-kind-re-measure = Measure again
task-state-open = Open
task-state-taken = Taken
task-state-done = Done

outcome-reached-advised = Reached and advised
outcome-seen-in-person = Seen in person
outcome-spoke-to-family = Spoke to authorised family
outcome-referred = Referred to a doctor
outcome-called-emergency = Emergency service called
outcome-refill-booked = Refill booked
outcome-re-measure-booked = Re-measurement booked
outcome-callback-agreed = Call back agreed
outcome-no-answer = No answer
outcome-wrong-number = Wrong number
outcome-refused = Refused
outcome-under-care = Already under care
outcome-in-hospital = In hospital
outcome-moved = Moved away
outcome-not-rested = Had not rested
outcome-false-alarm-device = False alarm: device
outcome-duplicate = Duplicate

month-1 = Jan
month-2 = Feb
month-3 = Mar
month-4 = Apr
month-5 = May
month-6 = Jun
month-7 = Jul
month-8 = Aug
month-9 = Sep
month-10 = Oct
month-11 = Nov
month-12 = Dec

mark-unconfirmed = Not repeated
mark-recovered = Later value in range
mark-repeated = Repeated
mark-doubtful = Take with care
mark-adult-standards-do-not-apply = Under age: adult standards do not apply
mark-pregnancy-limits = Limits of pregnancy

closed-cleared = values are in range again
closed-resolved = closed by a person
closed-consent-withdrawn = consent was withdrawn

audit-member-add = Member added
audit-member-read = File opened
audit-member-open = File opened
audit-member-conditions = Conditions changed
audit-member-drugs = Drug classes changed
audit-consent-grant = Consent given
audit-consent-withdraw = Consent withdrawn
audit-meter-bind = Meter bound
audit-meter-unbind = Meter unbound
audit-meter-vouch = Meter: only ever this member's
audit-alert-change = Alert changed
audit-task-change = Task changed
audit-symptom-record = Symptom recorded
audit-alert-read = Alert opened
audit-task-read = Task opened
audit-tasks-read = Listed among tasks
audit-alerts-read = Listed among alerts
audit-queue-read = Listed in the queue
audit-readings-read = Readings listed
audit-sessions-read = Sessions listed
audit-reading-store = Reading stored
audit-reading-refuse = Reading refused
audit-consent-read = Consent looked at
audit-member-search = Found by card number
audit-audit-read = Audit looked at

cancelled-consent-withdrawn = Cancelled: consent was withdrawn
cancelled-alert-resolved = Cancelled: the alert was closed
