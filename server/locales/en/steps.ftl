# What to say and ask, one reminder a line. No diagnosis, no dose. Awaits sign-off by the chain's clinical lead.
# $emergency is the number of the ambulance.

steps-sy-01 =
    Call { $emergency } now, or make sure that somebody with the person does; stay on the line.
    Ask where the person is, who is there, and which symptom began when.
    Note the time of your call.
steps-bp-02 =
    Ask how the person feels now: chest pain, weakness of face, arm or speech, confusion, breathlessness, loss of vision, the worst headache ever? With any of these, call { $emergency } at once.
    Ask to sit and rest for 5 minutes, then to measure twice, one minute apart.
    Ask to see a doctor today; offer help in arranging it.
    Ask whether medicines were taken as usual, and note what is said.
steps-bp-03 =
    Call { $emergency } now, or make sure that somebody with the person does; stay on the line.
    Ask where the person is, who is there, and which symptom began when.
    Ask the person to sit or lie down and wait for help.
steps-bp-04 =
    Ask about readings at home and how they are taken.
    Agree on a date for a visit to the doctor, or for the next measurement in the store.
    Ask whether medicines are taken as prescribed and whether they will last.
steps-bp-05 =
    Ask how the person feels now. With chest pain, weakness, confusion or breathlessness, call { $emergency }.
    Ask to measure again today after 5 minutes of rest, twice, one minute apart.
    Ask to see a doctor this week.
    Ask whether medicines were taken as usual, and note what is said.
steps-bp-06 =
    Ask about dizziness, falls, fainting, chest pain. With fainting, confusion or chest pain, call { $emergency }.
    Ask to sit or lie down now, and to stand up slowly later.
    Ask to contact the doctor today.
steps-gl-01 =
    Is the person fully awake and able to swallow? If drowsy or unable to swallow: give nothing, call { $emergency }.
    If awake and able to swallow: 15–20 g of glucose now, and measure again after 15 minutes. For somebody on acarbose, voglibose or miglitol only glucose works.
    Ask about meals and exercise, and whether insulin or a sulfonylurea is taken; note it for the doctor.
steps-gl-02 =
    Is the person fully awake and able to swallow? If drowsy or unable to swallow: give nothing, call { $emergency }.
    If awake and able to swallow: 15–20 g of glucose now, and measure again after 15 minutes. For somebody on acarbose, voglibose or miglitol only glucose works.
    Ask who is with the person, and to contact a doctor today.
    Stay in contact until a later value is known.
steps-gl-03 =
    Ask about vomiting, deep breathing, acetone breath, drowsiness. With any of these, call { $emergency }.
    Ask to wash the hands with water and to repeat with a new strip.
    Ask to see a doctor today, to drink water, and to check ketones where that is possible.
steps-gl-04 =
    Ask about vomiting, deep breathing, acetone breath, drowsiness. With any of these, call { $emergency }.
    Ask to contact the doctor today and to check ketones where that is possible.
    Ask about meals, infection, and whether medicines were taken as usual; note it.
steps-any =
    Ask how the person is now. With a danger symptom, call { $emergency }.
    Ask to measure again.
steps-stale =
    Say when it was measured. Ask how the person is now; with a danger symptom, call { $emergency }.
    Ask to measure again now, and note the value and time that are said.
    Book the next contact.
steps-end-critical = The person should not be left alone and should not drive.
steps-end = Say in the end: please do not change your medicine on your own.
