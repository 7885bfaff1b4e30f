# The kiosk's screens. One line for each message; only argument names in braces. Result texts await sign-off (result-sign-off).
brand = Blood pressure check
language-other = 中文
end-now = End now
back = Back
foot-note = For your information only; it does not replace a doctor's diagnosis.
page-lost = One moment, the screen will be back.

start-title = Hello, please choose
start-member = I am a member
start-member-note = With your card number; results can go into your health record
start-anonymous = Measure without a name
start-anonymous-note = Only you see the result; nothing is kept

code-title = Please enter your card number
code-label = Card number
code-malformed = A card number has 4 to 32 letters, digits or dashes. Please check it and try again.
code-submit = OK
code-delete = Delete one character
code-letters = Letters
code-digits = Digits
code-keypad = On-screen keypad

unknown-title = We do not find this card number
unknown-note = It may be mistyped, or this store does not have your details yet. You can type it again, or measure without a name.
unknown-retry = Type it again

greet-title = Hello, { $name }
greet-granted = You agreed to this: the result goes into your health record.
greet-begin = That is me, begin
greet-not-me = That is not me
greet-without = Do not keep it this time
consent-nothing-kept = You have not agreed to keeping results, so nothing will be kept.
consent-question = What shall happen with today's result?
consent-without = Measure without keeping
consent-without-note = The result is only shown here
consent-seal = Keep it until I confirm
consent-seal-note = Sealed on this device and not sent; destroyed after 72 hours without your consent

busy-title = One moment, please
busy-note = The meter is still connected for the measurement before. We go on by ourselves as soon as it is free.

failed-title = Measuring is not possible now
failed-note = Please tell the staff, they will help you.

prepare-title = Before you measure
prepare-rest = Sit quietly and rest for 5 minutes
prepare-posture = Lean back, feet flat on the floor, legs not crossed
prepare-arm = Bare upper arm, resting on the table at the height of the heart
prepare-cuff = Two fingers fit under the cuff; its edge is two fingers above the elbow
prepare-arm-note = Not on the side of a dialysis fistula, breast surgery or swelling: use the other arm.
prepare-wait-note = If you smoked, had coffee or exercised in the last half hour, please rest half an hour first. Visit the toilet first.
prepare-ready = I am ready

measure-title = Press start on the meter
measure-note = Relax. Please do not talk or move. The result appears here by itself.
measure-failed = That measurement gave no result. Please sit still, check the cuff and press start again.
measure-help = Several measurements gave no result. Please ask the staff to look at the cuff.
measure-number = Measurement { $number }
measure-earlier = Results so far
measure-finish = No more, show the result

gap-title = Rest a little, then once more
gap-note = Stay seated and keep the cuff on. Do not talk, breathe calmly.
gap-left = { $seconds } seconds left
gap-taken = Just measured

severe-title = Please stay seated and rest
severe-note = This value is very high. After a rest, two more measurements tell whether it is right. Please stay in your seat.
severe-left = Rest for { $minutes } more

symptom-question = Do you have any of these now?
symptom-list = Chest pain, weakness of face, arm or leg on one side, unclear speech, confusion, fainting, breathless at rest, sudden loss of vision, worst headache ever
symptom-do = If any: tell the staff at once and call 120.

result-title = Your blood pressure
result-systolic = Upper (systolic)
result-diastolic = Lower (diastolic)
result-unit = mmHg
result-pulse = Pulse { $pulse } per minute
result-mean = Mean of { $count } measurements
result-single = One measurement only; better measure again
result-irregular = The pulse was not quite regular. Please tell the staff, and your doctor at your next visit.
result-unconfirmed = Not repeated yet: please rest 5 minutes, then measure again.
result-unusable = There is no usable result this time
result-unusable-note = Please ask the staff to look at cuff and posture, then measure again.
result-medicine = Please do not change your medicine on your own.
result-sign-off = These texts await the chain's clinical sign-off.
result-saving = Being saved…
result-saved = Saved on this device, being sent
result-saved-offline = Saved on this device, sent when the connection is back
result-waiting = { $count } records on this device wait to be sent
result-sent = Arrived in your health record
result-sealed = Sealed on this device; waits 72 hours for your consent
result-aside = One measurement did not pass the checks, please tell the staff
result-kept-nowhere = Nothing was kept
result-done = I have read it, end

class-low-word = Low
class-low-advice = Please sit or lie down, and get up slowly. If you feel dizzy, sweaty or faint, tell the staff at once. Ask a doctor or pharmacist in the next days.
class-normal-word = Normal range
class-normal-advice = Keep up your good habits and measure regularly.
class-high-normal-word = Slightly high
class-high-normal-advice = A little above the ideal. Less salt, more movement, good sleep; measure again in a few weeks.
class-raised-word = High
class-raised-advice = One sitting does not settle it. Please measure on two other days within four weeks, and plan a visit to a doctor.
class-high-word = Clearly high
class-high-advice = Please see a doctor this week, and measure again on another day.
class-very-high-word = Very high
class-very-high-advice = Please see a doctor today. Stay seated and rest first. Do not leave alone, do not drive.

warning-title = Are you still reading?
warning-note = The screen is cleared in { $seconds } seconds, to protect your privacy.
warning-longer = A little longer

problem-title = This request cannot be handled
problem-forbidden = This page opens only on this device.
problem-stale = The page is out of date, please open it again.
problem-form = What was sent is incomplete or too long.
problem-not-found = There is no such page.
problem-busy = Too many pages are open, please close some.
problem-home = Back to the start
